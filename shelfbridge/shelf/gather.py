"""Which products a shelf of a kind is filled from."""

import numpy as np
from numpy.typing import NDArray

from shelfbridge.contract import SHELF_CANDIDATES, Shelf
from shelfbridge.request import Filters
from shelfbridge.shelf.assortment import Assortment
from shelfbridge.shelf.history import Shopper
from shelfbridge.shelf.request import ShelfRequest
from shelfbridge.shelf.shopper import in_cart
from shelfbridge.shelf.signals import Demand, Floats, Numbers, best, candidates, worth

HABIT = 2
"""Times that a product was bought from which on it may be recommended again."""
COMPANIONS = 150
"""Most candidates beside a product that are in baskets with it, and as many of those that its buyers buy."""
ALIKE, FEW = 50, 20
"""Most that are like it by their texts: they stand in where others are this few, as nobody has bought it yet."""


def shown(asked: Shelf, shopper: Shopper, assortment: Assortment, filters: Filters) -> Shelf:
    """Return the kind of shelf that can be filled: what is popular takes the place of one that nothing is known for.

    So a stranger is shown what is popular, and so is who asks to buy again and has bought nothing that may be shown:
    it is not sold any more, sold out, in the cart, or does not pass the filters.
    """
    if asked == "buy_again":
        return asked if len(_again(shopper, assortment.allowed(filters))) else "popular"
    return "popular" if asked == "for_you" and not shopper.known else asked


def gather(request: ShelfRequest, shopper: Shopper, user: Floats, assortment: Assortment, demand: Demand) -> Numbers:
    """Distinct rows that may be shown to a shopper whose vector is [W], at most `SHELF_CANDIDATES`, int32 [C].

    Never what is in the cart. *For you* and *goes with* leave out what was bought once; *buy again* is of what was
    bought.
    """
    owned, allowed, beside = shopper.owned, assortment.allowed(request.filters), request.with_row
    if request.kind == "buy_again":
        return _again(shopper, allowed)
    allowed[list(in_cart(shopper))] = False
    if request.kind == "popular":
        return best(demand.lately, SHELF_CANDIDATES, allowed).astype(np.int32)
    allowed[owned.items[owned.times < HABIT]] = False
    if beside is None:
        return candidates(shopper, user, assortment, demand, allowed)
    allowed[beside] = False
    return _beside(beside, assortment, allowed)


def _again(shopper: Shopper, allowed: NDArray[np.bool_]) -> Numbers:
    owned = shopper.owned
    allowed[list(in_cart(shopper))] = False
    return owned.items[best(worth(owned), SHELF_CANDIDATES, allowed[owned.items])]


def _beside(row: int, assortment: Assortment, allowed: NDArray[np.bool_]) -> Numbers:
    one = np.array([row], np.int32), np.ones(1, np.float32)
    company, association = assortment.companions.spread(*one), assortment.associated.spread(*one)
    found = np.union1d(
        best(company, COMPANIONS, allowed & (company > 0)), best(association, COMPANIONS, allowed & (association > 0))
    )
    if len(found) < FEW:
        found = np.union1d(found, assortment.alike(row, ALIKE, allowed))
    return found.astype(np.int32)
