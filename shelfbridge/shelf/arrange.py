"""From scored candidates to the products on a shelf: best first, not all alike, and a few to be tried out."""

import numpy as np
from numpy.typing import NDArray

from shelfbridge.shelf.signals import Floats

SAME = 0.97
"""Cosine of two products' texts from which on they are variants of one, and one is enough."""
ALIKE = 0.15
"""What being just like a product already shown costs, as a share of the range of the scores (maximal marginal
relevance, Carbonell & Goldstein, SIGIR 1998)."""
POOL = 4
"""Candidates per place that are arranged."""
EXPLORED = 10
"""One place in so many is for a candidate that its score would not have shown: the shop learns of it."""


def arrange(scores: Floats, texts: Floats, k: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Places of the candidates to show, in their order, and which are there to be tried out.

    Args:
        scores: of the candidates [C].
        texts: unit vectors of their texts [C, D].
        k: products to show at most.
        seed: the same gives the same.
    """
    shown = _diverse(scores, texts, k)
    explored = np.zeros(len(shown), bool)
    left = np.setdiff1d(np.arange(len(scores)), shown)
    chance = np.random.default_rng(seed)
    count = min(len(shown) // EXPLORED, len(left))
    if count:
        places = 1 + chance.permutation(len(shown) - 1)[:count]
        shown[places], explored[places] = chance.permutation(left)[:count], True
    return shown, explored


def falling(scores: Floats) -> Floats:
    """Scores of products in the order in which they are shown: none is higher than the one before."""
    lowest: Floats = np.minimum.accumulate(scores)
    return lowest


def _diverse(scores: Floats, texts: Floats, k: int) -> NDArray[np.int64]:
    pool = np.argsort(-scores, kind="stable")[: POOL * k]
    if not len(pool):
        return pool
    worth = scores[pool].astype(np.float64)
    worth = (worth - worth.min()) / max(float(np.ptp(worth)), 1e-9)
    cosines = texts[pool] @ texts[pool].T
    nearest = np.full(len(pool), -1.0)
    left = np.ones(len(pool), bool)
    shown: list[int] = []
    while len(shown) < k and left.any():
        place = int(np.argmax(np.where(left, worth - ALIKE * nearest.clip(min=0), -np.inf)))
        shown.append(place)
        nearest = np.maximum(nearest, cosines[place])
        left[place] = False
        left &= nearest < SAME
    return pool[shown]
