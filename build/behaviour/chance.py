"""What could be chance: intervals of shares, and false discoveries among many tests."""

import numpy as np
from numpy.typing import NDArray

Z = 1.96
"""Standard errors to each end of a 95 % interval."""


def wilson(hits: NDArray[np.int64], tries: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 95 % interval of shares (Wilson 1927); 0 to 1 where nothing was tried."""
    tried = np.maximum(tries, 1)
    share = hits / tried
    middle = (share + Z**2 / (2 * tried)) / (1 + Z**2 / tried)
    reach = Z / (1 + Z**2 / tried) * np.sqrt(share * (1 - share) / tried + Z**2 / (4 * tried**2))
    return np.where(tries > 0, middle - reach, 0.0), np.where(tries > 0, middle + reach, 1.0)


def adjusted(p: NDArray[np.float64], family: int) -> NDArray[np.float64]:
    """Benjamini & Hochberg's q (1995) of some p-values of a family; those of the rest count as 1."""
    order = np.argsort(p)
    scaled = p[order] * family / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q
