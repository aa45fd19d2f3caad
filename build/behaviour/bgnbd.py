"""BG/NBD: buying at a steady rate until one day one stops (Fader, Hardie & Lee, Marketing Science 2005).

Rates vary between people as a gamma distribution (r, α), the chance to stop after a purchase as a beta distribution
(a, b). All that counts of a person is x, purchases after the first; t, when the last was; and T, how long one is known.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, gammaln

from build.behaviour.shop import Shop
from build.shelf.interactions import DAY


def histories(shop: Shop, cut: int) -> pd.DataFrame:
    """Everyone who has bought before a moment, as BG/NBD sees them: purchases of one day are one.

    Returns:
        By number of the user, x, and t and T in days from the first purchase.
    """
    past = shop.seen.before(cut)
    days = pd.Series(past.time // DAY).groupby(past.user).agg(["nunique", "min", "max"])
    return pd.DataFrame(
        {"x": days["nunique"] - 1.0, "t": 1.0 * (days["max"] - days["min"]), "T": cut / DAY - days["min"]}
    )


@dataclass(frozen=True)
class BgNbd:
    """The four parameters of a shop. `seen` is of U people, as `histories` gives them."""

    r: float
    alpha: float
    a: float
    b: float

    @classmethod
    def fitted(cls, seen: pd.DataFrame) -> "BgNbd":
        """The parameters of greatest likelihood."""

        def loss(logs: NDArray[np.float64]) -> float:
            return -float(cls(*np.exp(logs))._likelihood(seen).mean())

        start = np.log([1.0, max(1.0, float(seen["T"].mean())), 1.0, 2.0])
        best = minimize(loss, start, method="L-BFGS-B", bounds=[(-7.0, 10.0)] * 4)
        return cls(*(float(value) for value in np.exp(best.x)))

    def _likelihood(self, seen: pd.DataFrame) -> NDArray[np.float64]:
        """Logarithm, of each person [U] (equation 6)."""
        x, r, alpha, a, b = seen["x"].to_numpy(), self.r, self.alpha, self.a, self.b
        common = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + betaln(a, b + x) - betaln(a, b)
        alive = -(r + x) * np.log(alpha + seen["T"].to_numpy())
        stopped = np.log(a / (b + np.maximum(x, 1) - 1)) - (r + x) * np.log(alpha + seen["t"].to_numpy())
        total: NDArray[np.float64] = common + np.where(x > 0, np.logaddexp(alive, stopped), alive)
        return total

    def buys(self, seen: pd.DataFrame, days: float) -> NDArray[np.float64]:
        """Probability that each buys within so many days [U].

        The rate of those who have not stopped is gamma (r + x, α + T): each stays away for so long with the probability
        ((α + T) / (α + T + days)) ^ (r + x).
        """
        x, known = seen["x"].to_numpy(), self.alpha + seen["T"].to_numpy()
        odds = self.a / (self.b + np.maximum(x, 1) - 1) * (known / (self.alpha + seen["t"].to_numpy())) ** (self.r + x)
        alive = 1 / (1 + np.where(x > 0, odds, 0.0))
        share: NDArray[np.float64] = alive * (1 - (known / (known + days)) ** (self.r + x))
        return share
