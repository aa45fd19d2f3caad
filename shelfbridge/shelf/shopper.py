"""From a profile, whose products have ids and times, to a shopper, whose products have rows and ages."""

import json
from collections.abc import Callable, Sequence

import numpy as np

from shelfbridge.profiles import Profile
from shelfbridge.shelf.history import DAY, KINDS, History, Owned, Shopper

Find = Callable[[str], int]
"""The row of a product id, -1 if there is none."""
VIEW, CART, BUY, REMOVE = (KINDS.index(kind) for kind in ("view", "cart", "buy", "remove"))
LOOK = 1
"""Seconds between two products of a session."""


def shopper_of(profile: Profile, items: Sequence[str], find: Find, now: int) -> Shopper:
    """Who a shopper is at a moment, by the products that are known.

    Args:
        profile: of a user; empty for a session without one.
        items: product ids just looked at, the latest last.
        find: rows.
        now: seconds since 1970.
    """
    events = [(find(event.product_id), event.time, KINDS.index(event.kind)) for event in reversed(profile.recent)]
    events += [(find(item), now - LOOK * (len(items) - place), VIEW) for place, item in enumerate(items)]
    events = [event for event in events if event[0] >= 0]
    bought = {row: how for item, how in profile.bought.items() if (row := find(item)) >= 0}
    rows = sorted(bought)
    return Shopper(
        History(
            now,
            np.array([row for row, _, _ in events], np.int32),
            np.array([min(time, now) for _, time, _ in events], np.int64),
            np.array([kind for _, _, kind in events], np.int64),
        ),
        Owned(
            np.array(rows, np.int32),
            np.array([bought[row].times for row in rows], np.int64),
            np.array([max(0, now - int(bought[row].first)) / DAY for row in rows], np.float32),
            np.array([max(0, now - int(bought[row].last)) / DAY for row in rows], np.float32),
        ),
    )


def dump(shopper: Shopper) -> str:
    """A shopper as the `shopper` tensor holds them."""
    recent, owned = shopper.recent, shopper.owned
    events = [array.tolist() for array in (recent.items, recent.times, recent.kinds)]
    return json.dumps([recent.now, events, [array.tolist() for array in vars(owned).values()]])


def load(raw: bytes | str) -> Shopper:
    """What `dump` wrote."""
    now, (items, times, kinds), (owned, counts, first, last) = json.loads(raw)
    return Shopper(
        History(now, np.array(items, np.int32), np.array(times, np.int64), np.array(kinds, np.int64)),
        Owned(
            np.array(owned, np.int32),
            np.array(counts, np.int64),
            np.array(first, np.float32),
            np.array(last, np.float32),
        ),
    )


def beside(shopper: Shopper, row: int) -> Shopper:
    """The shopper as if they had just put a product into the cart."""
    recent = shopper.recent
    return Shopper(
        History(
            recent.now,
            np.append(recent.items, np.int32(row)),
            np.append(recent.times, np.int64(recent.now)),
            np.append(recent.kinds, np.int64(CART)),
        ),
        shopper.owned,
    )


def in_cart(shopper: Shopper) -> set[int]:
    """Rows of the products put into the cart and neither taken out nor bought since."""
    cart: set[int] = set()
    for row, kind in zip(shopper.recent.items.tolist(), shopper.recent.kinds.tolist(), strict=True):
        if kind == CART:
            cart.add(row)
        elif kind in (REMOVE, BUY):
            cart.discard(row)
    return cart
