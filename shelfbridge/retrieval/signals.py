"""What retrieval knows of a candidate beside its vectors: words, numbers and denials."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfbridge.catalogue import Product
from shelfbridge.contract import SIGNALS
from shelfbridge.retrieval.best import best
from shelfbridge.retrieval.lexical import Documents, Held, LexicalIndex, Statistics
from shelfbridge.retrieval.names import Names
from shelfbridge.retrieval.ragged import load
from shelfbridge.retrieval.spelling import Spelling
from shelfbridge.text import NEGATED, lexical_tokens

FULL, TITLE, CATEGORY = range(3)
"""Fields of the lexical index: everything written of a product, its name, the last part of its category."""


@dataclass(frozen=True)
class Words:
    """The distinct terms of a query: those it wants, and those it denies, without their mark."""

    wanted: tuple[str, ...]
    denied: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> "Words":
        """The terms of a text as it is."""
        terms = dict.fromkeys(lexical_tokens(text))
        denied = tuple(term.removeprefix(NEGATED) for term in terms if term.startswith(NEGATED))
        return cls(tuple(term for term in terms if not term.startswith(NEGATED)), denied)

    @property
    def ranked(self) -> tuple[str, ...]:
        """What products are found by. What is denied is part of the topic: chairs without wheels are found among
        those that speak of wheels.
        """
        return tuple(dict.fromkeys((*self.wanted, *self.denials, *self.denied)))

    @property
    def denials(self) -> tuple[str, ...]:
        """The denied terms as a text that denies them too has them."""
        return tuple(NEGATED + term for term in self.denied)


@dataclass(frozen=True, eq=False)
class Lexicon:
    """The lexical fields of all products, and what else is known of each without its vectors."""

    terms: Names
    index: LexicalIndex
    spelling: Spelling
    statics: NDArray[np.float32]
    """Columns `title_length` and `popularity`, [N, 2]."""

    def words(self, text: str) -> Words:
        """The terms of a normalised query; an unknown word is taken for the likest known one."""
        return Words.of(self.spelling.corrected(text))

    def best(self, words: Words, depth: int, allowed: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Rows by BM25 over the full text and over the title, each by its best product's: best first, ties by row.

        Args:
            depth: most rows.
            allowed: which rows may be answered, [N].
        """
        return best(self.index, (FULL, TITLE), self.numbers(words.ranked), depth, allowed)

    def signals(self, words: Words, rows: NDArray[np.int64], cosines: NDArray[np.float32]) -> NDArray[np.float32]:
        """The columns of `contract.SIGNALS`, float32 [R, F], for rows [R] whose cosine with the query is known."""
        order = np.argsort(rows)
        ordered = rows[order].astype(np.int32)
        wanted = self.look_up((FULL, TITLE, CATEGORY), words.wanted, ordered)
        bm25, coverage, scale = wanted.bm25(), wanted.coverage(), np.maximum(wanted.rarity, 1e-6).astype(np.float32)
        columns: dict[str, NDArray[Any]] = {
            "bm25": bm25[FULL] / scale[FULL],
            "bm25_title": bm25[TITLE] / scale[TITLE],
            "coverage": coverage[FULL],
            "coverage_title": coverage[TITLE],
            "coverage_category": coverage[CATEGORY],
            "complete": coverage[FULL] > 1 - 1e-6,
            "title_length": self.statics[ordered, 0],
            "popularity": self.statics[ordered, 1],
            "cosine": cosines[order],
        }
        if numbers := [place for place, term in enumerate(words.wanted) if term[0].isdigit()]:
            columns["numbers"] = wanted.share(numbers)[FULL]
        if words.denied:
            denied = self.look_up((TITLE,), words.denied, ordered)
            denials = self.look_up((FULL,), words.denials, ordered)
            columns |= {"denied_title": denied.share()[0], "denial_met": denials.share()[0]}
        in_order = np.zeros((len(rows), len(SIGNALS)), np.float32)
        for name, column in columns.items():
            in_order[:, SIGNALS.index(name)] = column
        signals = np.empty_like(in_order)
        signals[order] = in_order
        return signals

    def look_up(self, fields: Sequence[int], terms: Sequence[str], rows: NDArray[np.int32]) -> Held:
        """What products, int32 [R] in order, have of terms in some fields."""
        return self.index.look_up(fields, self.numbers(terms), rows)

    def numbers(self, terms: Iterable[str]) -> list[int]:
        """Numbers of terms in the lexical index."""
        return [self.terms.find(term) for term in terms]

    @staticmethod
    def write(folder: Path, products: Sequence[Product], known: "Lexicon | None" = None) -> None:
        """Index the words of products.

        Args:
            known: the lexicon of the catalogue that they are added to, and weighed by; without it, by themselves.
        """
        vocabulary: dict[str, int] = {}
        fields = (
            Documents.of((lexical_tokens(product.full_text) for product in products), vocabulary),
            Documents.of((lexical_tokens(product.short_text) for product in products), vocabulary),
            Documents.of((lexical_tokens(" ".join(p.category[-1:])) for p in products), vocabulary),
        )
        if known is None:
            statistics = [Statistics.of(one, len(vocabulary)) for one in fields]
        else:
            numbers = known.numbers(vocabulary)
            statistics = [known.index.statistics(field, numbers) for field in range(len(fields))]
        LexicalIndex.write(folder / "fields", list(zip(fields, statistics, strict=True)))
        Names.write(folder, "terms", list(vocabulary))
        Spelling.write(folder, products)
        popularity = np.log10(1 + np.array([product.rating_count or 0 for product in products]))
        np.save(folder / "statics.npy", np.stack([np.log1p(fields[1].lengths), popularity], 1, dtype=np.float32))

    @classmethod
    def open(cls, folder: Path) -> "Lexicon":
        """Map what `write` wrote.

        Raises:
            ArtefactError: a file is missing, damaged, or does not belong to the others.
        """
        terms, fields, spelling = (
            Names.open(folder, "terms"),
            LexicalIndex.open(folder / "fields"),
            Spelling.open(folder),
        )
        return cls(terms, fields, spelling, load(folder / "statics.npy").view(np.ndarray))
