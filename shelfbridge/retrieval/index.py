"""From a query's text and vector to candidates: lexical and dense retrieval, fused, with their signals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shelfbridge.catalogue import Product
from shelfbridge.contract import CANDIDATES, SIGNALS
from shelfbridge.request import Filters
from shelfbridge.retrieval.facets import Facets
from shelfbridge.retrieval.joined import JoinedFacets, JoinedLexicon, JoinedRagged, JoinedVectors, LaterLexicon, Present
from shelfbridge.retrieval.ragged import Ragged, load
from shelfbridge.retrieval.signals import Lexicon
from shelfbridge.retrieval.vectors import Vectors, open_vectors, write_vectors

DEPTH = 200
"""Products taken from each side before fusion."""
NO_FILTERS = Filters()
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


@dataclass(frozen=True)
class CandidateIndex:
    """All that is known of the products at search time, memory-mapped."""

    lexicon: Lexicon
    vectors: Vectors
    facets: Facets
    tokens: Ragged

    def search(self, text: str, embedding: NDArray[np.float32], filters: Filters = NO_FILTERS) -> Candidates:
        """Candidates for a normalised query and its unit vector float32 [D]."""
        words = self.lexicon.words(text)
        allowed = self.facets.allowed(filters)
        found = fuse(self.lexicon.best(words, DEPTH, allowed), self.dense(embedding, allowed))[:CANDIDATES]
        count = len(found)
        rows = np.full(CANDIDATES, -1, np.int32)
        rows[:count] = found
        vectors = self.vectors.fetch(found)
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
        """This index and that of the products that came later, without those that are gone (`retrieval.changes`).

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        later = CandidateIndex.open(folder)
        present = Present.of(len(self.tokens), len(later.tokens), load(folder / "gone.npy"))
        return CandidateIndex(
            lexicon=JoinedLexicon(
                **vars(self.lexicon), later=LaterLexicon(**vars(later.lexicon), catalogue=self.lexicon), present=present
            ),
            vectors=JoinedVectors(self.vectors, later.vectors.fetch(np.arange(len(later.vectors))), present),
            facets=JoinedFacets(**vars(self.facets), later=later.facets, present=present),
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
        return cls(
            lexicon=Lexicon.open(folder / "lexicon"),
            vectors=open_vectors(folder),
            facets=Facets.open(folder / "facets"),
            tokens=Ragged.open(folder, "tokens"),
        )


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
