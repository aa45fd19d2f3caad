"""A shop's interactions as the chapters count them: by line, by basket and by week."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from build.shelf.interactions import DAY, Interactions

_MONDAY = 3
"""Days from a Monday to 1970-01-01, a Thursday."""


@dataclass(frozen=True)
class Shop:
    """Interactions, and the tables of them that are counted; all are in the order of time."""

    seen: Interactions

    @cached_property
    def table(self) -> pd.DataFrame:
        """The interactions: user, item, basket, time (seconds since 1970), price; worth, 0 where no price is known."""
        names = ("user", "item", "basket", "time", "price")
        table = pd.DataFrame({name: getattr(self.seen, name) for name in names})
        return table.assign(worth=table["price"].astype(float).fillna(0) * self.seen.quantity.astype(float))

    @cached_property
    def lines(self) -> pd.DataFrame:
        """Each product once a basket, whatever its quantity; columns as those of `table`."""
        return self.table.drop_duplicates(["basket", "item"])

    @cached_property
    def baskets(self) -> pd.DataFrame:
        """The baskets: user, time, worth (what was paid), lines (number of different products)."""
        by_basket = self.table.groupby("basket")
        held = by_basket.agg(user=("user", "first"), time=("time", "first"), worth=("worth", "sum"))
        held["lines"] = self.lines.groupby("basket").size()
        return held.sort_values("time", kind="stable", ignore_index=True)

    @property
    def end(self) -> int:
        """The first second after everything that happened."""
        return int(self.seen.time[-1]) + 1

    @cached_property
    def whole_weeks(self) -> NDArray[np.int64]:
        """The weeks, as `week` counts them, that are covered from their Monday to their Sunday."""
        first, last = int(self.seen.time[0]), int(self.seen.time[-1])
        return np.arange(week(first - first % DAY - 1) + 1, week(last - last % DAY + DAY))

    def before(self, time: int) -> "Shop":
        """What happened before a time."""
        return Shop(self.seen.before(time))

    def product(self, item: int) -> dict[str, str]:
        """Id and title of a product; the id stands in for a title that is not known."""
        name = self.seen.items[item]
        return {"item": name, "title": self.seen.titles[item] or name}


def week(time: Any) -> Any:
    """Number of the week, from Monday to Sunday, of a time or an array of times."""
    return (time // DAY + _MONDAY) // 7


def weekday(time: Any) -> Any:
    """0 for Monday to 6 for Sunday, of a time or an array of times."""
    return (time // DAY + _MONDAY) % 7


def monday(number: int) -> str:
    """The date on which a week begins."""
    return date((int(number) * 7 - _MONDAY) * DAY)


def date(time: int) -> str:
    """The date of a time, UTC."""
    return datetime.fromtimestamp(time, UTC).date().isoformat()
