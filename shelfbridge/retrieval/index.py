"""From a query's text and vector to candidates: lexical and dense retrieval, fused, with their signals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from shelfbridge.catalogue import Product
from shelfbridge.contract import CANDIDATES, SIGNALS
from shelfbridge.errors import ArtefactError
from shelfbridge.request import Filters
from shelfbridge.retrieval.facets import Facets
from shelfbridge.retrieval.ragged import Ragged
from shelfbridge.retrieval.signals import Lexicon

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
    vectors: Any
    facets: Facets
    tokens: Ragged

    def search(self, text: str, embedding: NDArray[np.float32], filters: Filters = NO_FILTERS) -> Candidates:
        """Candidates for a normalised query and its unit vector float32 [D]."""
        matched = self.lexicon.match(text)
        allowed = self.facets.allowed(filters)
        found = fuse(self.lexical(matched.fields, allowed), self.dense(embedding, allowed))[:CANDIDATES]
        count = len(found)
        rows = np.full(CANDIDATES, -1, np.int32)
        rows[:count] = found
        vectors = self.vectors.reconstruct_batch(found)
        signals = np.zeros((CANDIDATES, len(SIGNALS)), np.float32)
        signals[:count] = self.lexicon.signals(matched, found, vectors @ embedding)
        cosines = np.zeros((CANDIDATES, CANDIDATES), np.float32)
        cosines[:count, :count] = vectors @ vectors.T
        tokens, lengths = self.tokens.padded(rows)
        return Candidates(rows, signals, tokens, lengths, cosines)

    def lexical(self, scores: NDArray[np.float32], allowed: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Rows by lexical scores [N], best first, at most `DEPTH`, none without a term in common."""
        if allowed is not None:
            scores = np.where(allowed, scores, 0)
        depth = min(DEPTH, len(scores))
        best = np.argpartition(-scores, depth - 1)[:depth]
        best = best[np.lexsort((best, -scores[best]))]
        found: NDArray[np.int64] = best[scores[best] > 0]
        return found

    def dense(self, embedding: NDArray[np.float32], allowed: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Rows by cosine, best first, at most `DEPTH`."""
        options = None
        if allowed is not None:
            options = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little")))
        _, rows = self.vectors.search(embedding[None], min(DEPTH, self.vectors.ntotal), params=options)
        found: NDArray[np.int64] = rows[0][rows[0] >= 0]
        return found

    @staticmethod
    def write(
        folder: Path,
        products: Sequence[Product],
        vectors: NDArray[np.float32],
        tokens: Sequence[NDArray[np.int8]],
    ) -> None:
        """Index products with their unit vectors [N, D] and their token vectors, [T_i, P] each."""
        folder.mkdir(parents=True, exist_ok=True)
        Lexicon.write(folder / "lexicon", products)
        Facets.write(folder / "facets", products)
        Ragged.write(folder, "tokens", tokens)
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(np.ascontiguousarray(vectors, np.float32))
        faiss.write_index(flat, str(folder / "vectors.faiss"))

    @classmethod
    def open(cls, folder: Path) -> "CandidateIndex":
        """Map what `write` wrote.

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        try:
            vectors = faiss.read_index(str(folder / "vectors.faiss"), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise ArtefactError(f"{folder}/vectors.faiss cannot be read; build the release again") from error
        return cls(
            lexicon=Lexicon.open(folder / "lexicon"),
            vectors=vectors,
            facets=Facets.open(folder / "facets"),
            tokens=Ragged.open(folder, "tokens"),
        )


def fuse(*rankings: NDArray[np.int64]) -> NDArray[np.int64]:
    """Reciprocal rank fusion: rows of all rankings, best first, ties by row."""
    rows = np.concatenate(rankings)
    scores = np.concatenate([1 / (RRF_K + 1 + np.arange(len(ranking))) for ranking in rankings])
    unique, places = np.unique(rows, return_inverse=True)
    total = np.bincount(places, weights=scores, minlength=len(unique))
    fused: NDArray[np.int64] = unique[np.lexsort((unique, -total))]
    return fused
