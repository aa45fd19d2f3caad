"""How thoroughly to search a large catalogue: as little as still finds what an exact search finds."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray

AT = 100
"""Recall is that of the best hundred."""
TARGET = 0.992
"""Mean recall that a setting must reach on the queries it is chosen by, so that others see 0.99."""
_ROUNDING = 1e-6

Setting = TypeVar("Setting")


@dataclass(frozen=True)
class Truth:
    """What an exact fp32 search gives: queries [Q, D] and the score [Q] of the last of each one's best hundred."""

    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    floors: NDArray[np.float32]

    @classmethod
    def of(cls, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> "Truth":
        """Compare all vectors [N, D] with all queries [Q, D]."""
        depth = min(AT, len(vectors))
        scores, _ = faiss.knn(np.ascontiguousarray(queries), vectors, depth, metric=faiss.METRIC_INNER_PRODUCT)
        return cls(vectors, queries, scores[:, -1])

    def recalls(self, search: Callable[[NDArray[np.float32]], NDArray[np.int64]]) -> NDArray[np.float64]:
        """Recall@100 [Q] of a search, a vector to rows. Of equal products any counts."""
        depth = min(AT, len(self.vectors))
        found = (search(query)[:depth] for query in self.queries)
        hits = (
            np.count_nonzero(self.vectors[rows] @ query >= floor - _ROUNDING)
            for rows, query, floor in zip(found, self.queries, self.floors, strict=True)
        )
        return np.fromiter(hits, np.float64, len(self.queries)) / depth


def choose(
    settings: Iterable[Setting],
    search: Callable[[Setting, NDArray[np.float32]], NDArray[np.int64]],
    truth: Truth,
) -> tuple[Setting, float]:
    """The first setting whose search reaches `TARGET`, or the one that comes nearest, and its recall.

    Args:
        settings: from the cheapest to the dearest.
        search: with a setting, a vector [D] to rows, best first.
    """
    best: tuple[Setting, float] | None = None
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # one query at a time leaves other threads nothing but to spin
    for setting in settings:
        recall = float(truth.recalls(partial(search, setting)).mean())
        if best is None or recall > best[1]:
            best = setting, recall
        if recall >= TARGET:
            break
    faiss.omp_set_num_threads(threads)
    if best is None:
        raise ValueError("no setting to choose from")
    return best
