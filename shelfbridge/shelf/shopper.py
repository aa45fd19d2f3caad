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
    """Who a shopper is at a moment, in seconds since 1970, by the products that are known.

    The profile is empty for a session without a user; items are product ids just looked at, the latest last.
    """
    events = [(find(event.product_id), event.time, KINDS.index(event.kind)) for event in reversed(profile.recent)]
    events += [(find(item), now - LOOK * (len(items) - place), VIEW) for place, item in enumerate(items)]
    events = [event for event in events if event[0] >= 0]
    rows, times, kinds = zip(*events, strict=True) if events else ((), (), ())
    found = ((find(item), how) for item, how in profile.bought.items())
    bought = sorted(((row, how) for row, how in found if row >= 0), key=lambda one: one[0])
    return Shopper(
        History.of(now, rows, np.minimum(times, now), kinds),
        Owned.of(
            [row for row, _ in bought],
            [how.times for _, how in bought],
            [max(0, now - int(how.first)) / DAY for _, how in bought],
            [max(0, now - int(how.last)) / DAY for _, how in bought],
        ),
    )


def dump(shopper: Shopper) -> str:
    """A shopper as the `shopper` tensor holds them."""
    recent, owned = shopper.recent, shopper.owned
    events = [array.tolist() for array in (recent.items, recent.times, recent.kinds)]
    return json.dumps([recent.now, events, [array.tolist() for array in vars(owned).values()]])


def load(raw: bytes | str) -> Shopper:
    """What `dump` wrote."""
    now, events, owned = json.loads(raw)
    return Shopper(History.of(now, *events), Owned.of(*owned))


def beside(shopper: Shopper, row: int) -> Shopper:
    """The shopper as if they had just put a product into the cart."""
    recent = shopper.recent
    items, times, kinds = (
        np.append(recent.items, row),
        np.append(recent.times, recent.now),
        np.append(recent.kinds, CART),
    )
    return Shopper(History.of(recent.now, items, times, kinds), shopper.owned)


def in_cart(shopper: Shopper) -> set[int]:
    """Rows of the products put into the cart and neither taken out nor bought since."""
    cart: set[int] = set()
    for row, kind in zip(shopper.recent.items.tolist(), shopper.recent.kinds.tolist(), strict=True):
        if kind == CART:
            cart.add(row)
        elif kind in (REMOVE, BUY):
            cart.discard(row)
    return cart
