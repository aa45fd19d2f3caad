"""Products that came later beside those of a release, searched as one catalogue.

The rows of what came later follow the release's. Both parts weigh words by what the release knows of its catalogue, so
that a product scores the same in either. What is found among the release's products is found by their own index; what
came later is little, and looked at as a whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfbridge.contract import SIGNALS
from shelfbridge.request import Filters
from shelfbridge.retrieval.best import shares
from shelfbridge.retrieval.facets import Facets
from shelfbridge.retrieval.lexical import Held
from shelfbridge.retrieval.ragged import Ragged
from shelfbridge.retrieval.signals import FULL, TITLE, Lexicon, Words
from shelfbridge.retrieval.vectors import Vectors

SPARE = 200
"""Rows looked for beyond those wanted, as some of what is found may be gone."""
Find = Callable[[int, NDArray[np.bool_] | None], NDArray[np.int64]]
"""Rows, best first, by their most number and by which may be answered."""


@dataclass(frozen=True)
class Present:
    """Which rows are still sold: of the release [N], and of what came later [D]."""

    base: NDArray[np.bool_]
    later: NDArray[np.bool_]

    @classmethod
    def of(cls, base: int, later: int, gone: NDArray[np.int64]) -> "Present":
        """All rows of both parts but those that are gone."""
        both = np.ones(base + later, bool)
        both[gone] = False
        return cls(both[:base], both[base:])

    def find_in_base(self, find: Find, depth: int, allowed: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """What `find` finds in the release.

        Args:
            allowed: which rows of both parts may be answered; without it the release is first searched as if nothing
                were gone, which costs less than a filter.
        """
        if allowed is not None:
            return find(depth, allowed[: len(self.base)])
        found = find(depth + SPARE, None)
        left: NDArray[np.int64] = found[self.base[found]]
        if len(left) >= depth or len(left) == len(found):
            return left[:depth]
        return find(depth, self.base)

    def later_if(self, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """Which of the later rows may be answered, [D]."""
        return self.later if allowed is None else allowed[len(self.base) :]


@dataclass(frozen=True, eq=False)
class LaterLexicon(Lexicon):
    """The lexicon of what came later; how rare a term is, the release's says."""

    catalogue: Lexicon

    def look_up(self, fields: Sequence[int], terms: Sequence[str], rows: NDArray[np.int32]) -> Held:
        """As `Lexicon.look_up`."""
        rarity = self.catalogue.index.rarity(fields, self.catalogue.numbers(terms))
        return replace(super().look_up(fields, terms, rows), idf=rarity)


@dataclass(frozen=True, eq=False)
class JoinedLexicon(Lexicon):
    """The release's lexicon, and that of what came later."""

    later: LaterLexicon
    present: Present

    def words(self, text: str) -> Words:
        """As `Lexicon.words`; what either part knows is no mistake."""
        return Words.of(self.spelling.corrected(text, self.later.spelling))

    def best(self, words: Words, depth: int, allowed: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """As `Lexicon.best`; each field counts as a share of the best of the products found in both parts."""
        found = self.present.find_in_base(
            lambda most, some: super(JoinedLexicon, self).best(words, most, some), depth, allowed
        )
        later = self.later.best(words, depth, self.present.later_if(allowed))
        if not len(later):
            return found
        found, later = np.sort(found), np.sort(later)
        fields = (FULL, TITLE)
        sums = [
            super().look_up(fields, words.ranked, found.astype(np.int32)).bm25(),
            self.later.look_up(fields, words.ranked, later.astype(np.int32)).bm25(),
        ]
        rows = np.concatenate([found, later + self.index.size])
        return _first(rows, shares(np.concatenate(sums, axis=1)), depth)

    def signals(self, words: Words, rows: NDArray[np.int64], cosines: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Lexicon.signals`."""
        later = rows >= self.index.size
        signals = np.empty((len(rows), len(SIGNALS)), np.float32)
        signals[~later] = super().signals(words, rows[~later], cosines[~later])
        if later.any():
            signals[later] = self.later.signals(words, rows[later] - self.index.size, cosines[later])
        return signals


@dataclass(frozen=True)
class JoinedFacets(Facets):
    """The release's columns, and those of what came later."""

    later: Facets
    present: Present

    def allowed(self, filters: Filters) -> NDArray[np.bool_] | None:
        """As `Facets.allowed`; what is gone does not pass."""
        base, later = super().allowed(filters), self.later.allowed(filters)
        if base is None or later is None:
            return None
        return np.concatenate([base & self.present.base, later & self.present.later])


@dataclass(frozen=True)
class JoinedVectors:
    """The release's vectors wherever they are, and those [D, W] of what came later, which are all compared."""

    base: Vectors
    later: NDArray[np.float32]
    present: Present

    def __len__(self) -> int:
        return len(self.base) + len(self.later)

    def search(
        self, query: NDArray[np.float32], depth: int, allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """As `Vectors.search`."""
        found = self.present.find_in_base(lambda most, some: self.base.search(query, most, some), depth, allowed)
        later = np.flatnonzero(self.present.later_if(allowed))
        if not len(later):
            return found
        cosines = np.concatenate([self.base.fetch(found) @ query, (self.later @ query)[later]])
        return _first(np.concatenate([found, later + len(self.base)]), cosines, depth)

    def fetch(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """As `Vectors.fetch`."""
        later = rows >= len(self.base)
        if not later.any():
            return self.base.fetch(rows)
        vectors = np.empty((len(rows), self.later.shape[1]), np.float32)
        vectors[~later] = self.base.fetch(rows[~later])
        vectors[later] = self.later[rows[later] - len(self.base)]
        return vectors


@dataclass(frozen=True)
class JoinedRagged(Ragged):
    """The release's rows, and those of what came later."""

    later: Ragged

    def __len__(self) -> int:
        return super().__len__() + len(self.later)

    def __getitem__(self, row: int) -> NDArray[Any]:
        base = super().__len__()
        return super().__getitem__(row) if row < base else self.later[row - base]

    def padded(self, rows: NDArray[np.integer[Any]]) -> tuple[NDArray[Any], NDArray[np.int32]]:
        """As `Ragged.padded`."""
        base = super().__len__()
        later = rows >= base
        values, lengths = super().padded(np.where(later, -1, rows))
        if not later.any():
            return values, lengths
        more, more_lengths = self.later.padded(np.where(later, rows - base, -1))
        width = max(values.shape[1], more.shape[1])
        both = np.zeros((len(rows), width, *values.shape[2:]), values.dtype)
        both[:, : values.shape[1]] = values
        both[later, : more.shape[1]] = more[later]
        return both, lengths + more_lengths

    @classmethod
    def of(cls, base: Ragged, later: Ragged) -> "JoinedRagged":
        """The rows of both."""
        return cls(base.values, base.offsets, later)


def _first(rows: NDArray[np.int64], scores: NDArray[np.float32], depth: int) -> NDArray[np.int64]:
    first: NDArray[np.int64] = rows[np.lexsort((rows, -scores))][:depth]
    return first
