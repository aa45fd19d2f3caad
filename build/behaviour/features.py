"""What is known of a shopper at a moment, and whether one came within some days after it."""

import numpy as np
from numpy.typing import NDArray

from build.behaviour.tables import baskets, lines
from build.shelf.interactions import DAY, Interactions

FEATURES = (
    "days since the last basket",
    "days since the first basket",
    "baskets",
    "days a basket",
    "days since the last basket, in usual gaps",
    "baskets in the last period",
    "baskets in the last three periods",
    "spent",
    "spent a basket",
    "different products",
    "products a basket",
)


def features(shop: Interactions, cut: int, period: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Everyone who has bought before a moment, from nothing but what happened before it.

    Args:
        shop: interactions; those from `cut` on are left out first.
        cut: seconds since 1970.
        period: days, the horizon of what is to be foretold.

    Returns:
        Numbers of the users [U], and the logarithms of 1 + FEATURES [U, F].
    """
    past = shop.before(cut)
    held = baskets(past)
    user, place, count = np.unique(held.user, return_inverse=True, return_counts=True)
    first, last = np.full(len(user), cut), np.zeros(len(user), np.int64)
    np.minimum.at(first, place, held.time)
    np.maximum.at(last, place, held.time)
    recency, age = (cut - last) / DAY, (cut - first) / DAY
    pace = age / count
    spent = np.bincount(place, held.worth)
    once = lines(past)
    different = np.unique(np.stack((once.user, once.item)), axis=1)[0]
    raw = np.stack(
        (
            recency,
            age,
            count,
            pace,
            recency / np.maximum(pace, 1.0),
            np.bincount(place, held.time >= cut - period * DAY),
            np.bincount(place, held.time >= cut - 3 * period * DAY),
            spent,
            spent / count,
            np.bincount(different, minlength=len(shop.users))[user],
            np.bincount(place, held.lines) / count,
        ),
        axis=1,
    )
    return user.astype(np.int64), np.log1p(np.maximum(raw, 0.0))


def came(shop: Interactions, users: NDArray[np.int64], cut: int, period: int) -> NDArray[np.bool_]:
    """Whether each user bought within so many days from a moment on [U]."""
    return np.isin(users, shop.between(cut, cut + period * DAY).user)
