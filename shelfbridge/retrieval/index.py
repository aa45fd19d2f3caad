"""From a query's text and vector to candidates: lexical and dense retrieval, fused, with their signals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shelfbridge.catalogue import Product
from shelfbridge.contract import CANDIDATES, SIGNALS
from shelfbridge.errors import VectorsUnavailable
from shelfbridge.gauges import Gauge
from shelfbridge.request import Filters
from shelfbridge.retrieval.facets import Facets
from shelfbridge.retrieval.joined import JoinedFacets, JoinedLexicon, JoinedRagged, JoinedVectors, LaterLexicon, Present
from shelfbridge.retrieval.ragged import Ragged, check_lengths, load
from shelfbridge.retrieval.signals import Lexicon
from shelfbridge.retrieval.vectors import Vectors, open_vectors, write_vectors
from shelfbridge.warn import warn

DEPTH = 200
"""Products taken from each side before fusion."""
NO_FILTERS = Filters()
BY_WORDS_ALONE = Gauge("shelfbridge_searches_by_words_alone", "Searches so far for which the vectors were unavailable")
RRF_K = 20
"""Constant of reciprocal rank fusion (Cormack, Clarke & Büttcher, SIGIR 2009), chosen on ESCI queries."""


@dataclass(frozen=True)
class Candidates:
    """What retrieval hands to the ranker: best of the fusion first, padded to `CANDIDATES` with row -1.

    rows: int32 [C]; signals: float32 [C, F] as `contract.SIGNALS`; tokens: int8 [C, T, P]; lengths: int32 [C];
    cosines: float32 [C, C], of each candidate with each.
    """

    rows: NDArray[np.int32]
    signals: NDArray[np.float32]
    tokens: NDArray[np.int8]
    lengths: NDArray[np.int32]
    cosines: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What search and shelves both read of the products, memory-mapped."""

    vectors: Vectors
    facets: Facets

    def __len__(self) -> int:
        return len(self.vectors)

    @classmethod
    def open(cls, folder: Path) -> "Columns":
        """Map what `CandidateIndex.write` wrote.

        Raises:
            ArtefactError: a file is missing, damaged, or does not belong to the others.
        """
        vectors, facets = open_vectors(folder), Facets.open(folder / "facets")
        check_lengths(folder, {"vectors": len(vectors), "facets": len(facets.price)})
        return cls(vectors=vectors, facets=facets)

    def with_changes(self, folder: Path) -> "Columns":
        """Return these and those of the products that came later, without those that are gone.

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        return self._joined(Columns.open(folder), load(folder / "gone.npy"))

    def _joined(self, later: "Columns", gone: NDArray[np.int64]) -> "Columns":
        present = Present.of(len(self.vectors), len(later.vectors), gone)
        return Columns(
            vectors=JoinedVectors(self.vectors, later.vectors.fetch(np.arange(len(later.vectors))), present),
            facets=JoinedFacets(**vars(self.facets), later=later.facets, present=present),
        )


@dataclass(frozen=True, kw_only=True)
class CandidateIndex(Columns):
    """All that is known of the products at search time, memory-mapped."""

    lexicon: Lexicon
    tokens: Ragged

    def search(self, text: str, embedding: NDArray[np.float32], filters: Filters = NO_FILTERS) -> Candidates:
        """Return the candidates for a normalised query and its unit vector float32 [D].

        Where the store of vectors does not answer, words alone find them, and every cosine is 0.
        """
        words = self.lexicon.words(text)
        allowed = self.facets.allowed(filters)
        lexical = self.lexicon.best(words, DEPTH, allowed)
        try:
            found = fuse(lexical, self.dense(embedding, allowed))[:CANDIDATES]
            vectors = self.vectors.fetch(found)
        except VectorsUnavailable as error:
            warn(f"{error}; searches go on by words alone")
            BY_WORDS_ALONE.add()
            found = lexical[:CANDIDATES]
            vectors = np.zeros((len(found), len(embedding)), np.float32)
        count = len(found)
        rows = np.full(CANDIDATES, -1, np.int32)
        rows[:count] = found
        signals = np.zeros((CANDIDATES, len(SIGNALS)), np.float32)
        signals[:count] = self.lexicon.signals(words, found, vectors @ embedding)
        cosines = np.zeros((CANDIDATES, CANDIDATES), np.float32)
        cosines[:count, :count] = vectors @ vectors.T
        tokens, lengths = self.tokens.padded(rows)
        return Candidates(rows, signals, tokens, lengths, cosines)

    def dense(self, embedding: NDArray[np.float32], allowed: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Rows by cosine, best first, at most `DEPTH`."""
        return self.vectors.search(embedding, DEPTH, allowed)

    def with_changes(self, folder: Path) -> "CandidateIndex":
        """This index and that of the products that came later, without those that are gone (`shelfbridge.changes`).

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        later, gone = CandidateIndex.open(folder), load(folder / "gone.npy")
        return CandidateIndex(
            **vars(self._joined(later, gone)),
            lexicon=JoinedLexicon(
                **vars(self.lexicon),
                later=LaterLexicon(**vars(later.lexicon), catalogue=self.lexicon),
                present=Present.of(len(self.tokens), len(later.tokens), gone),
            ),
            tokens=JoinedRagged.of(self.tokens, later.tokens),
        )

    @staticmethod
    def write(
        folder: Path,
        products: Sequence[Product],
        vectors: NDArray[np.float32],
        tokens: Sequence[NDArray[np.int8]],
        *,
        queries: NDArray[np.float32] | None = None,
        place: str = "faiss",
        known: Lexicon | None = None,
    ) -> None:
        """Index products with their unit vectors [N, D] and their token vectors, [T_i, P] each.

        Args:
            queries: vectors [Q, D] of likely queries; `place`: where vectors go. Both as `write_vectors` takes them.
            known: as `Lexicon.write` takes it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        Lexicon.write(folder / "lexicon", products, known)
        Facets.write(folder / "facets", products)
        Ragged.write(folder, "tokens", tokens)
        write_vectors(folder, vectors, queries=queries, place=place)

    @classmethod
    def open(cls, folder: Path) -> "CandidateIndex":
        """Map what `write` wrote.

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        columns = Columns.open(folder)
        lexicon, tokens = Lexicon.open(folder / "lexicon"), Ragged.open(folder, "tokens")
        check_lengths(folder, {"facets": len(columns), "lexicon": len(lexicon.statics), "tokens": len(tokens)})
        return cls(**vars(columns), lexicon=lexicon, tokens=tokens)


def fuse(*rankings: NDArray[np.int64]) -> NDArray[np.int64]:
    """Reciprocal rank fusion: rows of all rankings, best first, ties by row."""
    rows = np.concatenate(rankings)
    scores = np.concatenate([1 / np.arange(RRF_K + 1, RRF_K + 1 + len(ranking)) for ranking in rankings])
    if not len(rows):
        return rows
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    first = np.ones(len(rows), bool)
    np.not_equal(rows[1:], rows[:-1], out=first[1:])
    firsts = first.nonzero()[0]
    total = np.add.reduceat(scores[order], firsts)
    # Rows are in order already, so a stable sort leaves ties so
    fused: NDArray[np.int64] = rows[firsts][np.argsort(-total, kind="stable")]
    return fused
