"""What is known of a shopper at a moment, and whether one came within some days after it."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from build.behaviour.shop import Shop
from build.shelf.interactions import DAY


def features(shop: Shop, cut: int, period: int) -> pd.DataFrame:
    """Everyone who has bought before a moment, from nothing but what happened before it.

    Args:
        shop: what happened from `cut` on is left out first.
        cut: seconds since 1970.
        period: days, the horizon of what is to be foretold.

    Returns:
        The logarithms of 1 + each feature, by number of the user.
    """
    past = shop.before(cut)
    held = past.baskets
    seen = held.groupby("user").agg(
        first=("time", "min"),
        last=("time", "max"),
        count=("time", "size"),
        spent=("worth", "sum"),
        lines=("lines", "sum"),
    )
    recency, age = (cut - seen["last"]) / DAY, (cut - seen["first"]) / DAY
    pace = age / seen["count"]
    raw = {
        "days since the last basket": recency,
        "days since the first basket": age,
        "baskets": seen["count"],
        "days a basket": pace,
        "days since the last basket, in usual gaps": recency / pace.clip(lower=1),
        "baskets in the last period": (held["time"] >= cut - period * DAY).groupby(held["user"]).sum(),
        "baskets in the last three periods": (held["time"] >= cut - 3 * period * DAY).groupby(held["user"]).sum(),
        "spent": seen["spent"],
        "spent a basket": seen["spent"] / seen["count"],
        "different products": past.lines.groupby("user")["item"].nunique(),
        "products a basket": seen["lines"] / seen["count"],
    }
    return np.log1p(pd.DataFrame(raw).clip(lower=0))


def came(shop: Shop, users: pd.Index, cut: int, period: int) -> NDArray[np.bool_]:
    """Whether each user bought within so many days from a moment on [U]."""
    return np.isin(users, shop.seen.between(cut, cut + period * DAY).user)
