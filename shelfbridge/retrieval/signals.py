"""What retrieval knows of a candidate beside its vectors: words, numbers and denials."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shelfbridge.catalogue import Product
from shelfbridge.contract import SIGNALS
from shelfbridge.retrieval.lexical import LexicalField, Match
from shelfbridge.retrieval.ragged import load
from shelfbridge.retrieval.spelling import Spelling
from shelfbridge.text import NEGATED, lexical_tokens


@dataclass(frozen=True)
class Lexical:
    """Every product scored for the words of one query.

    `wanted` and `denied` are the query's terms, the latter without their mark. `full`, `title` and `category` are what
    each field has of the wanted ones.
    """

    wanted: tuple[str, ...]
    denied: tuple[str, ...]
    full: Match
    title: Match
    category: Match
    fields: NDArray[np.float32]
    """BM25 over the full text and over the title, each by its best product's, [N] in 0..2."""


@dataclass(frozen=True, eq=False)
class Lexicon:
    """The lexical fields of all products, and what else is known of each without its vectors."""

    full: LexicalField
    title: LexicalField
    category: LexicalField
    spelling: Spelling
    statics: NDArray[np.float32]
    """Columns `title_length` and `popularity`, [N, 2]."""

    def match(self, text: str) -> Lexical:
        """Score all products for a normalised query; an unknown word is taken for the likest known one."""
        terms = tuple(dict.fromkeys(lexical_tokens(self.spelling.corrected(text))))
        wanted = tuple(term for term in terms if not term.startswith(NEGATED))
        denied = tuple(term.removeprefix(NEGATED) for term in terms if term.startswith(NEGATED))
        full, title, category = (field.match(wanted) for field in (self.full, self.title, self.category))
        if not denied:
            return Lexical(wanted, denied, full, title, category, _by_best(full) + _by_best(title))
        # What is denied is part of the topic: chairs without wheels are found among those that speak of wheels
        every = (*terms, *denied)
        both = _by_best(self.full.match(every)) + _by_best(self.title.match(every))
        return Lexical(wanted, denied, full, title, category, both)

    def signals(self, found: Lexical, rows: NDArray[np.int64], cosines: NDArray[np.float32]) -> NDArray[np.float32]:
        """The columns of `contract.SIGNALS`, float32 [R, F], for rows [R] whose cosine with the query is known."""
        numbers = [term for term in found.wanted if term[0].isdigit()]
        columns = {
            "bm25": found.full.bm25[rows] / max(found.full.rarity, 1e-6),
            "bm25_title": found.title.bm25[rows] / max(found.title.rarity, 1e-6),
            "coverage": found.full.coverage[rows],
            "coverage_title": found.title.coverage[rows],
            "coverage_category": found.category.coverage[rows],
            "complete": (found.full.coverage[rows] > 1 - 1e-6).astype(np.float32),
            "numbers": self.full.share(numbers, rows),
            "denied_title": self.title.share(found.denied, rows),
            "denial_met": self.full.share([NEGATED + term for term in found.denied], rows),
            "title_length": self.statics[rows, 0],
            "popularity": self.statics[rows, 1],
            "cosine": cosines,
        }
        stacked: NDArray[np.float32] = np.stack([columns[name] for name in SIGNALS], axis=1, dtype=np.float32)
        return stacked

    @staticmethod
    def write(folder: Path, products: Sequence[Product]) -> None:
        """Index the words of products."""
        titles = [lexical_tokens(product.short_text) for product in products]
        LexicalField.write(folder / "full", [lexical_tokens(product.full_text) for product in products])
        LexicalField.write(folder / "title", titles)
        LexicalField.write(folder / "category", [lexical_tokens(" ".join(p.category[-1:])) for p in products])
        Spelling.write(folder, products)
        statics = [
            (np.log1p(len(title)), np.log10(1 + (product.rating_count or 0)))
            for title, product in zip(titles, products, strict=True)
        ]
        np.save(folder / "statics.npy", np.array(statics, np.float32))

    @classmethod
    def open(cls, folder: Path) -> "Lexicon":
        """Map what `write` wrote.

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        full, title, category = (LexicalField.open(folder / name) for name in ("full", "title", "category"))
        return cls(full, title, category, Spelling.open(folder), load(folder / "statics.npy").view(np.ndarray))


def _by_best(match: Match) -> NDArray[np.float32]:
    return match.bm25 / max(float(match.bm25.max()), 1e-6)
