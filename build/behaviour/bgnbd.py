"""BG/NBD: buying at a steady rate until one day one stops (Fader, Hardie & Lee, Marketing Science 2005).

Rates vary between people as a gamma distribution (r, α), the chance to stop after a purchase as a beta distribution
(a, b). All that counts of a person is x, purchases after the first; t, when the last was; and T, how long one is known.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, gammaln

from build.shelf.interactions import DAY, Interactions


@dataclass(frozen=True)
class Histories:
    """People as BG/NBD sees them: purchases of one day are one."""

    user: NDArray[np.int64]
    x: NDArray[np.float64]
    t: NDArray[np.float64]
    """Days from the first purchase to the last [U]."""
    T: NDArray[np.float64]
    """Days from the first purchase to now [U]."""


def histories(shop: Interactions, cut: int) -> Histories:
    """Everyone who has bought before a moment."""
    past = shop.before(cut)
    visits = np.unique(np.stack((past.user.astype(np.int64), past.time // DAY)), axis=1)
    user, begin, count = np.unique(visits[0], return_index=True, return_counts=True)
    first, last = visits[1][begin], visits[1][begin + count - 1]
    return Histories(user, count - 1.0, (last - first).astype(np.float64), cut / DAY - first)


@dataclass(frozen=True)
class BgNbd:
    """The four parameters of a shop."""

    r: float
    alpha: float
    a: float
    b: float

    @classmethod
    def fitted(cls, seen: Histories) -> "BgNbd":
        """The parameters of greatest likelihood."""

        def loss(logs: NDArray[np.float64]) -> float:
            return -float(cls(*np.exp(logs))._likelihood(seen).mean())

        start = np.log([1.0, max(1.0, float(seen.T.mean())), 1.0, 2.0])
        best = minimize(loss, start, method="L-BFGS-B", bounds=[(-7.0, 10.0)] * 4)
        return cls(*(float(value) for value in np.exp(best.x)))

    def _likelihood(self, seen: Histories) -> NDArray[np.float64]:
        """Logarithm, of each person [U] (equation 6)."""
        x, r, alpha, a, b = seen.x, self.r, self.alpha, self.a, self.b
        common = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + betaln(a, b + x) - betaln(a, b)
        alive = -(r + x) * np.log(alpha + seen.T)
        stopped = np.log(a / (b + np.maximum(x, 1) - 1)) - (r + x) * np.log(alpha + seen.t)
        total: NDArray[np.float64] = common + np.where(x > 0, np.logaddexp(alive, stopped), alive)
        return total

    def alive(self, seen: Histories) -> NDArray[np.float64]:
        """Probability that each has not stopped [U]."""
        odds = self.a / (self.b + np.maximum(seen.x, 1) - 1)
        odds = odds * ((self.alpha + seen.T) / (self.alpha + seen.t)) ** (self.r + seen.x)
        share: NDArray[np.float64] = 1 / (1 + np.where(seen.x > 0, odds, 0.0))
        return share

    def buys(self, seen: Histories, days: float) -> NDArray[np.float64]:
        """Probability that each buys within so many days [U].

        The rate of those who have not stopped is gamma (r + x, α + T): each stays away for so long with the probability
        ((α + T) / (α + T + days)) ^ (r + x).
        """
        waits = (self.alpha + seen.T) / (self.alpha + seen.T + days)
        share: NDArray[np.float64] = self.alive(seen) * (1 - waits ** (self.r + seen.x))
        return share
