"""Judgments of the sample: which products are judged for a query, and how.

The labels follow from the facts the products were made of. Likeness of words only chooses which of the many wrong
products are worth judging: those that a search comparing words would take for answers.
"""

from collections import defaultdict
from collections.abc import Iterator
from heapq import nsmallest
from math import log
from random import Random

from build.sample.products import Item
from build.sample.queries import Query
from build.sample.vocabulary import Vocabulary
from shelfbridge.catalogue import Judgment, Label, Split
from shelfbridge.text import lexical_tokens

_TAKEN = {Label.SUBSTITUTE: (8, 5), Label.COMPLEMENT: (2, 2), Label.IRRELEVANT: (8, 3)}
"""How many are judged of a label: the most alike in words, and any others."""


class Judge:
    """Judges queries against one catalogue."""

    def __init__(self, rng: Random, words: Vocabulary, items: list[Item]) -> None:
        self._rng = rng
        self._words = words
        self._items = items
        self._rows_of: dict[str, list[int]] = {kind: [] for kind in words.types}
        self._rows_with: defaultdict[str, list[int]] = defaultdict(list)
        for row, item in enumerate(items):
            self._rows_of[item.kind].append(row)
            for token in dict.fromkeys(lexical_tokens(item.product.full_text)):
                self._rows_with[token].append(row)

    def judge(self, query_id: str, query: Query, split: Split) -> Iterator[Judgment]:
        """Every exact answer, and a choice of the others: the most alike first."""
        alike = self._likeness(query.text)
        for label, rows in self._labelled(query).items():
            for row in rows if label is Label.EXACT else self._choose(rows, alike, *_TAKEN[label]):
                product_id = self._items[row].product.product_id
                yield Judgment(query_id=query_id, query=query.text, product_id=product_id, label=label, split=split)

    def _labelled(self, query: Query) -> dict[Label, list[int]]:
        """Rows by label: all needs met; the type or a close one; a complement of it; any other."""
        types = self._words.types
        close = query.types.union(*(types[kind].close for kind in query.types))
        complements = frozenset().union(*(self._words.complements(kind) for kind in query.types)) - close
        rows: dict[Label, list[int]] = {label: [] for label in Label}
        for kind, rows_of_kind in self._rows_of.items():
            if kind in query.types:
                for row in rows_of_kind:
                    answers = query.answered_by(self._items[row])
                    rows[Label.EXACT if answers else Label.SUBSTITUTE].append(row)
            else:
                label = Label.SUBSTITUTE if kind in close else Label.IRRELEVANT
                rows[Label.COMPLEMENT if kind in complements else label].extend(rows_of_kind)
        return rows

    def _choose(self, rows: list[int], alike: dict[int, float], nearest: int, others: int) -> list[int]:
        first = nsmallest(nearest, rows, key=lambda row: (-alike.get(row, 0.0), row))
        rest = [row for row in self._rng.sample(rows, min(len(rows), nearest + others)) if row not in first]
        return first + rest[:others]

    def _likeness(self, text: str) -> dict[int, float]:
        """Sum of the inverse document frequencies of the words shared, by row."""
        alike: defaultdict[int, float] = defaultdict(float)
        for token in dict.fromkeys(lexical_tokens(text)):
            rows = self._rows_with.get(token, [])
            weight = log((1 + len(self._items)) / (1 + len(rows)))
            for row in rows:
                alike[row] += weight
        return alike


def split_queries(rng: Random, queries: list[Query]) -> list[Split]:
    """A split for each query: of every kind, 70 in 100 train, 15 dev, 15 test."""
    splits: dict[int, Split] = {}
    for kind in dict.fromkeys(query.kind for query in queries):
        places = [place for place, query in enumerate(queries) if query.kind == kind]
        rng.shuffle(places)
        held = round(0.15 * len(places))
        for rank, place in enumerate(places):
            splits[place] = "test" if rank < held else "dev" if rank < 2 * held else "train"
    return [splits[place] for place in range(len(queries))]
