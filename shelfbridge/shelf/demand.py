"""What sells at this moment: as the release knows it, and as the store of profiles has it since."""

import time
from collections.abc import Callable, Sequence

from shelfbridge.clock import Clock
from shelfbridge.errors import StoreUnavailable
from shelfbridge.profiles.popularity import WEIGHTS
from shelfbridge.shelf.assortment import Assortment
from shelfbridge.shelf.signals import Demand
from shelfbridge.warn import warn

MOST = 1000
"""Products of which the store is asked."""
FRESH = 1.0
"""Seconds that its answer is good for."""
Popular = Callable[[float, int], Sequence[tuple[str, float]]]
"""`ProfileStore.popular`."""


class LiveDemand:
    """The demand at this moment; whichever knows more of a product, the release or the store, is believed. What the
    release knows does not fade: it is as of its build.

    A basket that the store counts is worth what `popularity.WEIGHTS` gives a purchase.
    """

    def __init__(self, popular: Popular, clock: Clock = time.time) -> None:
        self._popular, self._clock = popular, clock
        self._asked = -FRESH
        self._now: tuple[Assortment, Demand] | None = None

    def now(self, assortment: Assortment) -> Demand:
        """Of an assortment's products; as of the release where the store is away, which is logged."""
        if self._now is None or self._now[0] is not assortment or time.monotonic() - self._asked >= FRESH:
            self._asked = time.monotonic()
            try:
                self._now = assortment, self._joined(assortment)
            except StoreUnavailable as error:
                warn(f"{error}; what is popular is as of the release")
                self._now = assortment, assortment.demand
        return self._now[1]

    def _joined(self, assortment: Assortment) -> Demand:
        lately, long = assortment.demand.lately.copy(), assortment.demand.long.copy()
        for product_id, weight in self._popular(self._clock(), MOST):
            if (row := assortment.row(product_id)) >= 0:
                baskets = weight / WEIGHTS["buy"]
                lately[row], long[row] = max(lately[row], baskets), max(long[row], baskets)
        return Demand(lately, long)
