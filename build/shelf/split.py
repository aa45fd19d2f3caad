"""Cases by time: what a shopper bought next, and what was known of them before.

Nothing is drawn at random: a model that is evaluated from a moment on has seen only what came before it, and a case's
history ends before its basket. Ji et al. 2023 (doi:10.1145/3569930) show what leaking the future does to such tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from build.shelf.interactions import Interactions
from shelfbridge.errors import DataError
from shelfbridge.profiles.store import RETENTION_DAYS
from shelfbridge.shelf.history import BUY, DAY, History

KEPT = int(RETENTION_DAYS * DAY)
"""Seconds of a shopper's past that a profile holds."""


@dataclass(frozen=True, eq=False)
class Case:
    """One basket, and the history before it."""

    user: int
    history: History
    bought: NDArray[np.int32]
    """The basket's distinct products, by number."""

    def without(self, items: NDArray[np.bool_]) -> "Case":
        """As if some products, told by number [products], were not there."""
        return Case(self.user, self.history.without(items), self.bought[~items[self.bought]])


@dataclass(frozen=True)
class Split:
    """Moments, in seconds since 1970, that part what is learned from, chosen by and reported.

    From `rehearsal` to `validation`, the ranker of the validation learns from models that know only what came before;
    from there to `test`, settings are chosen; from there to `end`, figures are reported.
    """

    rehearsal: int
    validation: int
    test: int
    end: int

    @classmethod
    def of(cls, interactions: Interactions, weeks: int) -> "Split":
        """The last weeks of the data, in three windows of the same length.

        Raises:
            DataError: the data do not reach back as far again.
        """
        end, length = int(interactions.time[-1]) + 1, weeks * 7 * DAY
        if end - 6 * length < int(interactions.time[0]):
            days = (end - int(interactions.time[0])) / DAY
            raise DataError(
                f"{days:.0f} days of interactions are too few for windows of {weeks} weeks; "
                f"give at least {6 * length // DAY} days, or shorter windows (--weeks)"
            )
        return cls(end - 3 * length, end - 2 * length, end - length, end)


def cases(interactions: Interactions, begin: int, end: int) -> list[Case]:
    """The baskets from one moment on, before another, in the order of time; histories may be empty.

    What a user bought at the very moment of a basket is not part of its history, nor is what a profile would not have
    kept until then.
    """
    order = np.lexsort((interactions.time, interactions.user))
    users, times, items = interactions.user[order], interactions.time[order], interactions.item[order]
    kinds = np.full(len(order), BUY, np.int64)
    inside = np.flatnonzero((interactions.time >= begin) & (interactions.time < end))
    if not len(inside):
        return []
    by_basket = inside[np.argsort(interactions.basket[inside], kind="stable")]
    bounds = np.flatnonzero(np.diff(interactions.basket[by_basket])) + 1
    made = []
    for lines in np.split(by_basket, bounds):
        user, now = int(interactions.user[lines[0]]), int(interactions.time[lines[0]])
        first, last = np.searchsorted(users, [user, user + 1]).tolist()
        start, stop = (first + np.searchsorted(times[first:last], [now - KEPT, now])).tolist()
        history = History(now, items[start:stop], times[start:stop], kinds[start:stop])
        made.append(Case(user, history, np.unique(interactions.item[lines])))
    return sorted(made, key=lambda case: case.history.now)


def with_history(some: Sequence[Case]) -> list[Case]:
    """The cases of shoppers who are known."""
    return [case for case in some if len(case.history)]
