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
from shelfbridge.retrieval.lexical import LexicalField, Match
from shelfbridge.retrieval.ragged import Ragged, load
from shelfbridge.text import lexical_tokens

DEPTH = 200
"""Products taken from each side before fusion."""
NO_FILTERS = Filters()
RRF_K = 60
"""Constant of reciprocal rank fusion (Cormack, Clarke & Büttcher, SIGIR 2009)."""


@dataclass(frozen=True)
class Candidates:
    """What retrieval hands to the ranker: best of the fusion first, padded to `CANDIDATES` with row -1.

    rows: int32 [C]; signals: float32 [C, F] as `contract.SIGNALS`; tokens: int8 [C, T, P]; lengths: int32 [C].
    """

    rows: NDArray[np.int32]
    signals: NDArray[np.float32]
    tokens: NDArray[np.int8]
    lengths: NDArray[np.int32]


@dataclass(frozen=True)
class CandidateIndex:
    """All that is known of the products at search time, memory-mapped."""

    full: LexicalField
    title: LexicalField
    vectors: Any
    facets: Facets
    tokens: Ragged
    fame: NDArray[np.float32]
    """Columns `rating` and `rating_count` of the signals, [N, 2]."""

    def search(self, text: str, embedding: NDArray[np.float32], filters: Filters = NO_FILTERS) -> Candidates:
        """Candidates for a normalised query and its unit vector float32 [D]."""
        terms = lexical_tokens(text)
        full, title = self.full.match(terms), self.title.match(terms)
        allowed = self.facets.allowed(filters)
        found = fuse(self.lexical(full, allowed), self.dense(embedding, allowed))[:CANDIDATES]
        rows = np.full(CANDIDATES, -1, np.int32)
        rows[: len(found)] = found
        tokens, lengths = self.tokens.padded(rows)
        signals = np.zeros((CANDIDATES, len(SIGNALS)), np.float32)
        signals[: len(found)] = self.signals(full, title, embedding, found)
        return Candidates(rows, signals, tokens, lengths)

    def lexical(self, match: Match, allowed: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Rows by BM25, best first, at most `DEPTH`, none without a term in common."""
        scores = match.bm25 if allowed is None else np.where(allowed, match.bm25, 0)
        depth = min(DEPTH, len(scores))
        best = np.argpartition(-scores, depth - 1)[:depth]
        best = best[np.lexsort((best, -scores[best]))]
        found: NDArray[np.int64] = best[scores[best] > 0]
        return found

    def dense(self, embedding: NDArray[np.float32], allowed: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Rows by cosine, best first, at most `DEPTH`."""
        options = None
        if allowed is not None:
            options = faiss.SearchParameters(sel=faiss.IDSelectorBatch(np.flatnonzero(allowed)))
        _, rows = self.vectors.search(embedding[None], min(DEPTH, self.vectors.ntotal), params=options)
        found: NDArray[np.int64] = rows[0][rows[0] >= 0]
        return found

    def signals(
        self, full: Match, title: Match, embedding: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The columns of `contract.SIGNALS` for some rows, float32 [R, F].

        BM25 is given per unit of query: divided by the best score any product reaches for it.
        """
        columns = {
            "bm25": full.bm25[rows] / max(float(full.bm25.max()), 1e-6),
            "bm25_title": title.bm25[rows] / max(float(title.bm25.max()), 1e-6),
            "coverage": full.coverage[rows],
            "coverage_title": title.coverage[rows],
            "cosine": self.vectors.reconstruct_batch(rows) @ embedding,
            "rating": self.fame[rows, 0],
            "rating_count": self.fame[rows, 1],
        }
        stacked: NDArray[np.float32] = np.stack([columns[name] for name in SIGNALS], axis=1, dtype=np.float32)
        return stacked

    @staticmethod
    def write(
        folder: Path,
        products: Sequence[Product],
        vectors: NDArray[np.float32],
        tokens: Sequence[NDArray[np.int8]],
    ) -> None:
        """Index products with their unit vectors [N, D] and their token vectors, [T_i, P] each."""
        folder.mkdir(parents=True, exist_ok=True)
        LexicalField.write(folder / "full", [lexical_tokens(product.full_text) for product in products])
        LexicalField.write(folder / "title", [lexical_tokens(product.short_text) for product in products])
        Facets.write(folder / "facets", products)
        Ragged.write(folder, "tokens", tokens)
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(np.ascontiguousarray(vectors, np.float32))
        faiss.write_index(flat, str(folder / "vectors.faiss"))
        np.save(folder / "fame.npy", np.array([_fame(product) for product in products], np.float32))

    @classmethod
    def open(cls, folder: Path) -> "CandidateIndex":
        """Map what `write` wrote.

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        try:
            vectors = faiss.read_index(str(folder / "vectors.faiss"), faiss.IO_FLAG_MMAP)
        except RuntimeError as error:
            raise ArtefactError(f"{folder}/vectors.faiss cannot be read; build the release again") from error
        return cls(
            full=LexicalField.open(folder / "full"),
            title=LexicalField.open(folder / "title"),
            vectors=vectors,
            facets=Facets.open(folder / "facets"),
            tokens=Ragged.open(folder, "tokens"),
            fame=load(folder / "fame.npy"),
        )


def fuse(*rankings: NDArray[np.int64]) -> NDArray[np.int64]:
    """Reciprocal rank fusion: rows of all rankings, best first, ties by row."""
    rows = np.concatenate(rankings)
    scores = np.concatenate([1 / (RRF_K + 1 + np.arange(len(ranking))) for ranking in rankings])
    unique, places = np.unique(rows, return_inverse=True)
    total = np.bincount(places, weights=scores, minlength=len(unique))
    fused: NDArray[np.int64] = unique[np.lexsort((unique, -total))]
    return fused


def _fame(product: Product) -> tuple[float, float]:
    """Rating in 0..1 (0.8 where not known) and the logarithm of its count, in 0..1 for up to a million."""
    rating = 0.8 if product.rating is None else product.rating / 5
    return rating, float(np.log10(1 + (product.rating_count or 0))) / 6
