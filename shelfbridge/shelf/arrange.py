"""From scored candidates to the products on a shelf: best first, not all alike, and a few to be tried out.

In a search it is the ranker's scores for the query that come first: what the shelf's ranker says of the shopper moves
them.
"""

import numpy as np
from numpy.typing import NDArray

from shelfbridge.shelf.signals import Floats

SAME = 0.97
"""Cosine of two products' texts from which on they are variants of one, and one is enough."""
ALIKE = 0.15
"""What being just like a product already shown costs, as a share of the range of the scores (maximal marginal
relevance, Carbonell & Goldstein, SIGIR 1998)."""
EXPLORED = 10
"""One place in so many is for a candidate that its score would not have shown: the shop learns of it."""
WEIGHT = 0.25
"""Of the shopper's taste beside the query. On the sample (`python -m build.shelf personal`) 0.5 is no worse, and 1
loses where shoppers know what they want: the query comes first."""


def arrange(scores: Floats, texts: Floats, k: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Places of the candidates to show, k at most, in their order, and which are there to be tried out.

    The candidates have scores [C] and unit vectors of their texts [C, D]; the same seed gives the same.
    """
    shown, left = _diverse(scores, texts, k)
    explored = np.zeros(len(shown), bool)
    chance = np.random.default_rng(seed)
    count = min(len(shown) // EXPLORED, len(left))
    if count:
        places = 1 + chance.permutation(len(shown) - 1)[:count]
        shown[places], explored[places] = chance.permutation(left)[:count], True
    return shown, explored


def falling(scores: Floats, explored: NDArray[np.bool_]) -> Floats:
    """Scores as they are told of the products on a shelf [k], in their order: none is higher than the one before.

    A product that is there to be tried out, which the first never is, has a lower score than those behind it. It says
    nothing of them, and is told to score as the one before it.
    """
    lowest: Floats = np.minimum.accumulate(np.where(explored, np.inf, scores)).astype(np.float32)
    return lowest


def _diverse(scores: Floats, texts: Floats, k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places to show, and those left that are no variants of them; where all others are, variants fill the shelf."""
    worth = scores.astype(np.float64)
    if len(worth):
        worth = (worth - worth.min()) / max(float(np.ptp(worth)), 1e-9)
    cosines = texts @ texts.T
    nearest = np.full(len(worth), -1.0)
    left = np.ones(len(worth), bool)
    shown: list[int] = []
    while len(shown) < k and left.any():
        fresh = left & (nearest < SAME)
        of = fresh if fresh.any() else left
        place = int(np.argmax(np.where(of, worth - ALIKE * nearest.clip(min=0), -np.inf)))
        shown.append(place)
        nearest = np.maximum(nearest, cosines[place])
        left[place] = False
    return np.array(shown, np.int64), np.flatnonzero(left & (nearest < SAME))


def blend(scores: Floats, tastes: Floats, there: NDArray[np.bool_], weight: float = WEIGHT) -> Floats:
    """The ranker's scores [C] moved by the tastes that the shelf's ranker tells [C], where there is no padding [C].

    The weight is of standard deviations over the candidates: of the scores, per one of the tastes.
    """
    if np.count_nonzero(there) < 2:
        return scores
    spread = float(tastes[there].std())
    moved = scores + weight * float(scores[there].std()) * (tastes - tastes[there].mean()) / max(spread, 1e-6)
    blended: Floats = np.where(there, moved, scores).astype(np.float32)
    return blended
