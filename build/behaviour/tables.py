"""Interactions by basket, by day and by week: what every chapter counts."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from build.shelf.interactions import DAY, Interactions

_MONDAY = 3
"""Days from a Monday to 1970-01-01, a Thursday."""


@dataclass(frozen=True)
class Baskets:
    """B baskets in the order of their time."""

    user: NDArray[np.int32]
    time: NDArray[np.int64]
    """Seconds since 1970 [B]."""
    worth: NDArray[np.float64]
    """What was paid [B]."""
    lines: NDArray[np.int64]
    """How many different products [B]."""

    def __len__(self) -> int:
        return len(self.user)

    def where(self, some: NDArray[np.bool_]) -> "Baskets":
        """Some of them [B]."""
        return Baskets(self.user[some], self.time[some], self.worth[some], self.lines[some])


def baskets(shop: Interactions) -> Baskets:
    """The baskets that the interactions fill."""
    _, first, place = np.unique(shop.basket, return_index=True, return_inverse=True)
    paid = np.bincount(place, worth(shop)).astype(np.float64)
    once = lines(shop)
    _, filled = np.unique(once.basket, return_counts=True)
    order = np.argsort(shop.time[first], kind="stable")
    return Baskets(shop.user[first][order], shop.time[first][order], paid[order], filled[order].astype(np.int64))


def worth(shop: Interactions) -> NDArray[np.float64]:
    """Price times quantity; 0 where no price is known [N]."""
    price = np.nan_to_num(shop.price.astype(np.float64), nan=0.0)
    paid: NDArray[np.float64] = price * shop.quantity.astype(np.float64)
    return paid


def lines(shop: Interactions) -> Interactions:
    """Each product once a basket, whatever its quantity."""
    first = np.zeros(len(shop), bool)
    first[np.unique(shop.basket.astype(np.int64) * len(shop.items) + shop.item, return_index=True)[1]] = True
    return shop.where(first)


def ending(shop: Interactions) -> int:
    """The first second after everything that happened."""
    return int(shop.time[-1]) + 1


def days(time: NDArray[np.int64]) -> NDArray[np.int64]:
    """Days since 1970."""
    return time // DAY


def weeks(time: NDArray[np.int64]) -> NDArray[np.int64]:
    """Weeks from Monday to Sunday, counted since 1970."""
    return (time // DAY + _MONDAY) // 7


def weekdays(time: NDArray[np.int64]) -> NDArray[np.int64]:
    """0 for Monday to 6 for Sunday."""
    return (time // DAY + _MONDAY) % 7


def whole_weeks(time: NDArray[np.int64]) -> NDArray[np.int64]:
    """The weeks that the times, in order, cover from their Monday to their Sunday."""
    first, last = int(time[0]), int(time[-1])
    begin = int(weeks(time[:1])[0]) + (first // DAY % 7 != (7 - _MONDAY) % 7)
    end = int(weeks(time[-1:])[0]) + (int(weekdays(np.array([last]))[0]) == 6)
    return np.arange(begin, end)


def monday(week: int) -> str:
    """The date on which a week begins."""
    return date((week * 7 - _MONDAY) * DAY)


def date(time: int) -> str:
    """The date of a time, UTC."""
    return datetime.fromtimestamp(time, UTC).date().isoformat()


def title(shop: Interactions, item: int) -> str:
    """What a product is called, or its id where it has no title."""
    return shop.titles[item] or shop.items[item]
