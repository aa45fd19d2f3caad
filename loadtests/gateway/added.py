"""By how much one way is slower than another, at a percentile, and how sure that is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 20
"""Queries that are drawn together: a machine is slow for a while, not for one search."""
DRAWS = 1000


@dataclass(frozen=True)
class Estimate:
    """Milliseconds, with their 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def added(base: NDArray[np.float64], other: NDArray[np.float64], percentile: float, seed: int = 7) -> Estimate:
    """The other's percentile less the base's.

    The interval is of a paired block bootstrap (Künsch 1989; blocks that do not overlap): queries that stood together
    are drawn together, and of both ways alike.

    Args:
        base: milliseconds (n,), n at least `BLOCK`.
        other: of the same queries in the same order.
    """
    whole = len(base) // BLOCK * BLOCK
    blocks = np.stack([each[:whole].reshape(-1, BLOCK) for each in (base, other)])
    chance = np.random.default_rng(seed)
    drawn = chance.integers(blocks.shape[1], size=(DRAWS, blocks.shape[1]))
    found = np.array([_difference(blocks[:, rows].reshape(2, -1), percentile) for rows in drawn])
    low, high = np.percentile(found, (2.5, 97.5))
    return Estimate(_difference(np.stack([base, other]), percentile), float(low), float(high))


def _difference(both: NDArray[np.float64], percentile: float) -> float:
    base, other = np.percentile(both, percentile, axis=1)
    return float(other - base)
