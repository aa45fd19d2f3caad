"""A shopper at a moment: what is known of them then, and nothing that came later.

Offline programs and a server compute the same, from what a profile keeps.
"""

from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shelfbridge.profiles.events import Kind
from shelfbridge.profiles.profile import BOUGHT, RECENT

DAY = 86_400
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What a shopper does with a product; an event's number is its place here."""
BUY = KINDS.index("buy")


@dataclass(frozen=True, eq=False)
class Owned:
    """The distinct products that a shopper has bought, by number [M]."""

    items: NDArray[np.int32]
    times: NDArray[np.int64]
    """At how many moments each was bought."""
    first: NDArray[np.float32]
    """Days since the first time."""
    last: NDArray[np.float32]
    """Days since the latest time."""

    @classmethod
    def of(cls, items: ArrayLike, times: ArrayLike, first: ArrayLike, last: ArrayLike) -> "Owned":
        """Of anything like arrays."""
        kinds = (np.int32, np.int64, np.float32, np.float32)
        return cls(*map(np.array, (items, times, first, last), kinds))


@dataclass(frozen=True, eq=False)
class History:
    """N events of one shopper in the order of time, all before `now`."""

    now: int
    """Seconds since 1970."""
    items: NDArray[np.int32]
    times: NDArray[np.int64]
    """Seconds since 1970."""
    kinds: NDArray[np.int64]
    """Numbers of `KINDS`."""

    @classmethod
    def of(cls, now: int, items: ArrayLike, times: ArrayLike, kinds: ArrayLike) -> "History":
        """Of anything like arrays."""
        return cls(now, np.array(items, np.int32), np.array(times, np.int64), np.array(kinds, np.int64))

    def __len__(self) -> int:
        return len(self.items)

    @property
    def ages(self) -> NDArray[np.float32]:
        """Days since each event."""
        return ((self.now - self.times) / DAY).astype(np.float32)

    def latest(self, most: int) -> "History":
        """The latest events, at most so many."""
        return History(self.now, self.items[-most:], self.times[-most:], self.kinds[-most:])

    def without(self, items: NDArray[np.bool_]) -> "History":
        """Without the events of some products, told by number [products]."""
        kept = ~items[self.items]
        return History(self.now, self.items[kept], self.times[kept], self.kinds[kept])

    def owned(self) -> Owned:
        """Return what was bought, of the `BOUGHT` products bought latest."""
        buys = self.kinds == BUY
        moments = np.unique(np.stack([self.items[buys].astype(np.int64), self.times[buys]], 1), axis=0)
        items, start, count = np.unique(moments[:, 0], return_index=True, return_counts=True)
        latest = moments[start + count - 1, 1]
        kept = np.sort(np.argsort(-latest, kind="stable")[:BOUGHT])
        items, start, count = items[kept], start[kept], count[kept]
        ages = ((self.now - moments[:, 1]) / DAY).astype(np.float32)
        return Owned.of(items, count, ages[start], ages[start + count - 1])


@dataclass(frozen=True, eq=False)
class Shopper:
    """What a profile keeps of a shopper."""

    recent: History
    """The latest `RECENT` events."""
    owned: Owned

    @property
    def known(self) -> bool:
        """Whether anything is."""
        return bool(len(self.recent) or len(self.owned.items))

    @classmethod
    def of(cls, history: History) -> "Shopper":
        """Of all events."""
        return cls(history.latest(RECENT), history.owned())
