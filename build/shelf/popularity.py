"""How often each product was bought lately, at any moment."""

import numpy as np
from numpy.typing import NDArray

from build.shelf.interactions import Interactions
from shelfbridge.shelf.history import DAY


class Popularity:
    """Baskets that held a product, each counting half as much after every half-life.

    A moment knows whole days only, up to the midnight (UTC) before it.
    """

    def __init__(self, interactions: Interactions, half_life: float) -> None:
        """Count.

        Args:
            half_life: in days.
        """
        lines = np.unique(np.stack([interactions.basket, interactions.item], 1), axis=0, return_index=True)[1]
        day, item = interactions.time[lines] // DAY, interactions.item[lines]
        self._first = int(interactions.time[0] // DAY)
        days = int(interactions.time[-1] // DAY) - self._first + 1
        counts = np.zeros((days + 1, len(interactions.items)), np.float32)
        np.add.at(counts, (day - self._first + 1, item), 1)
        self._fading = np.float32(0.5 ** (1 / half_life))
        for place in range(1, len(counts)):
            counts[place] += counts[place - 1] * self._fading
        self._counts = counts

    def at(self, now: int) -> NDArray[np.float32]:
        """By product, float32 [products]."""
        day = now // DAY - self._first
        known: NDArray[np.float32] = self._counts[max(0, min(day, len(self._counts) - 1))]
        return known * self._fading ** max(0, day - len(self._counts) + 1)
