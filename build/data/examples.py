"""What there is to learn from: judged pairs, and queries made from the products' own words."""

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from shelfbridge.catalogue import Catalogue, Judgments, Label, Product
from shelfbridge.contract import MAX_QUERY_CHARS
from shelfbridge.text import CJK

_WORD = re.compile(rf"[{CJK}]{{1,2}}|[^\s{CJK}]+")
"""Words, and pairs of characters where a script has no spaces."""
_BETWEEN = re.compile(rf"(?<=[{CJK}]) (?=[{CJK}])")

Query = str
Row = int
Item = TypeVar("Item")


@dataclass(frozen=True)
class Example:
    """A query with products and their gains, best first. Rows point into the catalogue."""

    query: Query
    rows: tuple[Row, ...]
    gains: tuple[float, ...]


def judged(catalogue: Catalogue, judgments: Judgments) -> list[Example]:
    """One example per judged query."""
    queries = judgments.queries
    examples = []
    for query_id, labels in judgments.by_query.items():
        ranked = sorted(labels.items(), key=lambda item: -item[1].gain)
        rows = tuple(catalogue.rows_of[product_id] for product_id, _ in ranked)
        examples.append(Example(queries[query_id], rows, tuple(label.gain for _, label in ranked)))
    return examples


def synthetic(catalogue: Catalogue, count: int, seed: int) -> list[Example]:
    """Queries that a product's own words make, each with that product and one of the same category as a wrong answer.

    A product that has all words of a query is not held against it.

    Title spans, "brand + category" and "colour + category", in the manner of InPars' and Doc2Query's cheap ancestors:
    they teach the shop's words, not its shoppers' taste.
    """
    chance = random.Random(seed)
    shelves: dict[str, list[Row]] = {}
    for row, product in enumerate(catalogue.products):
        shelves.setdefault(product.category[-1] if product.category else "", []).append(row)
    rows = chance.sample(range(len(catalogue.products)), min(count, len(catalogue.products)))
    examples = []
    for row in rows:
        product = catalogue.products[row]
        shelf = shelves[product.category[-1] if product.category else ""]
        other = chance.choice(shelf if len(shelf) > 1 else range(len(catalogue.products)))
        query = _query(product, chance)
        if not set(query.split()) <= set(catalogue.products[other].full_text.lower().split()):
            examples.append(Example(query, (row, other), (Label.EXACT.gain, 0.0)))
    return examples


def right(some: Iterable[Example]) -> dict[Query, frozenset[Row]]:
    """Return the rows of the products that are right for each query: none of them is wrong for it in a batch."""
    found: dict[Query, set[Row]] = {}
    for example in some:
        rows = (row for row, gain in zip(example.rows, example.gains, strict=True) if gain == Label.EXACT.gain)
        found.setdefault(example.query, set()).update(rows)
    return {query: frozenset(rows) for query, rows in found.items()}


def unlabelled(catalogue: Catalogue, queries: Sequence[Query], count: int, seed: int) -> list[Query]:
    """Short texts in the shop's words that nobody has to judge: its queries, and spans of what products say.

    Args:
        catalogue: all products.
        queries: shoppers' own, all taken.
        count: texts beside them; half as `synthetic` makes them, half any one to eight words of a product.
        seed: of the choice.
    """
    chance = random.Random(seed)
    made: list[Query] = []
    while len(made) < count:
        product = chance.choice(catalogue.products)
        if chance.random() < 0.5:
            made.append(_query(product, chance))
        else:
            words = _WORD.findall(product.full_text)
            start = chance.randrange(len(words))
            made.append(_joined(words[start : start + chance.randint(1, 8)]))
    return [*queries, *made]


def _joined(words: Sequence[str]) -> Query:
    """A query of some words. A script without blanks makes long ones, and so do addresses: those are cut."""
    return _asked(_BETWEEN.sub("", " ".join(words)))


def _asked(text: str) -> Query:
    return text.lower()[:MAX_QUERY_CHARS]


def _query(product: Product, chance: random.Random) -> Query:
    words = _WORD.findall(product.title)
    length = min(len(words), chance.randint(2, 4))
    start = chance.randint(0, len(words) - length)
    forms = [_joined(words[start : start + length])] * 2
    if product.category:
        forms += [f"{named} {product.category[-1]}" for named in (product.brand, product.color) if named]
    return _asked(chance.choice(forms))


def drawn(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """Return at most `count` of some items in their own order, drawn by chance: a file's first rows may be alike."""
    places = sorted(random.Random(seed).sample(range(len(items)), min(count, len(items))))
    return [items[place] for place in places]


def batches(examples: Sequence[Example], size: int, chance: random.Random) -> Iterator[list[Example]]:
    """Shuffled groups of `size` in which no query and no right product comes twice; some may be smaller."""
    waiting = chance.sample(list(examples), len(examples))
    while waiting:
        batch: list[Example] = []
        later: list[Example] = []
        taken: set[Query | Row] = set()
        for place, example in enumerate(waiting):
            if len(batch) == size:
                later += waiting[place:]
                break
            if example.query in taken or example.rows[0] in taken:
                later.append(example)
            else:
                batch.append(example)
                taken |= {example.query, example.rows[0]}
        waiting = later
        yield batch
