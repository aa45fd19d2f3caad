"""Which products a shelf of a kind is filled from."""

import numpy as np
from numpy.typing import NDArray

from shelfbridge.contract import SHELF_CANDIDATES, Shelf
from shelfbridge.shelf.assortment import Assortment
from shelfbridge.shelf.history import History, Owned, Shopper
from shelfbridge.shelf.shopper import CART, in_cart
from shelfbridge.shelf.signals import Demand, Floats, Numbers, best, candidates, worth

HABIT = 2
"""Times that a product was bought from which on it may be recommended again."""
COMPANIONS, ALIKE = 150, 50
"""Most candidates beside a product that are in baskets with it, and whose texts are near its own."""


def gather(
    kind: Shelf,
    shopper: Shopper,
    user: Floats,
    *,
    assortment: Assortment,
    demand: Demand,
    allowed: NDArray[np.bool_],
    with_row: int | None,
) -> Numbers:
    """Distinct rows that may be shown, at most `SHELF_CANDIDATES`, int32 [C].

    Never what is in the cart. *For you* leaves out what was bought once; *buy again* is of what was bought.

    Args:
        user: vector of the shopper [W].
        allowed: products that may be shown at all [N]; changed.
        with_row: the product that *goes with* is beside.
    """
    owned = shopper.owned
    allowed[list(in_cart(shopper))] = False
    if kind == "popular":
        return best(demand.lately, SHELF_CANDIDATES, allowed).astype(np.int32)
    if kind == "buy_again":
        return owned.items[best(worth(owned), SHELF_CANDIDATES, allowed[owned.items])]
    if kind == "goes_with":
        assert with_row is not None
        allowed[with_row] = False
        return _beside(with_row, assortment, allowed)
    allowed[owned.items[owned.times < HABIT]] = False
    return candidates(shopper, user, assortment, demand, allowed)


def _beside(row: int, assortment: Assortment, allowed: NDArray[np.bool_]) -> Numbers:
    one = np.array([row], np.int32), np.ones(1, np.float32)
    company, association = assortment.companions.spread(*one), assortment.associated.spread(*one)
    found = [
        best(company, COMPANIONS, allowed & (company > 0)),
        best(association, COMPANIONS, allowed & (association > 0)),
        assortment.alike(row, ALIKE, allowed),
    ]
    return np.unique(np.concatenate(found)).astype(np.int32)


def only(row: int, now: int) -> Shopper:
    """Somebody of whom no more is known than that a product is in their cart."""
    nothing = np.zeros(0, np.float32)
    return Shopper(
        History(now, np.array([row], np.int32), np.array([now], np.int64), np.array([CART], np.int64)),
        Owned(np.zeros(0, np.int32), np.zeros(0, np.int64), nothing, nothing),
    )
