"""Buying again: how much of the trade it is, how soon it happens, and with which products."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from build.behaviour.chance import wilson
from build.behaviour.tables import date, ending, lines, title
from build.shelf.interactions import DAY, Interactions

CLASSES = ("cheap third", "middle third", "dear third")
"""Of the products by their median price; where no price is known, of fewest to most buyers."""
CLASSES_BY_BUYERS = ("few buyers", "some buyers", "many buyers")
WITHIN = (7, 30, 60, 90, 180)
"""Days after which the share that bought again is given."""
LEAST_BUYERS = 30
SHOWN = 20


def repeats(shop: Interactions) -> dict[str, Any]:
    """Shares of repeat lines, the time between them, and the products bought again most."""
    once = lines(shop)
    again, wait, censored = occasions(once, ending(shop))
    classes, names = _classes(shop)
    by_user = np.bincount(once.user, again) / np.maximum(np.bincount(once.user), 1)
    several = _with_two_baskets(once)
    return {
        "share": float(again.mean()),
        "months": _months(once, again),
        "users_with_any": float((by_user[several] > 0).mean()) if len(several) else 0.0,
        "share_by_user": [float(v) for v in np.quantile(by_user[several], (0.1, 0.25, 0.5, 0.75, 0.9))]
        if len(several)
        else [],
        "classes": [
            {"name": name, **_waiting(wait[classes[once.item] == at], censored[classes[once.item] == at])}
            for at, name in enumerate(names)
        ],
        "all": _waiting(wait, censored),
        "items": _items(shop, once, again),
    }


def occasions(once: Interactions, end: int) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.bool_]]:
    """What comes before and after each line [N], in the order given.

    Returns:
        Whether its user had bought the product before; the days until the user buys it again, or else until the end;
        and whether it is the end.
    """
    order = np.lexsort((once.time, once.item, once.user))
    same = (np.diff(once.user[order]) == 0) & (np.diff(once.item[order]) == 0)
    again = np.zeros(len(once), bool)
    again[order[1:]] = same
    following = np.full(len(once), end, np.int64)
    following[order[:-1]] = np.where(same, once.time[order[1:]], end)
    censored = np.ones(len(once), bool)
    censored[order[:-1]] = ~same
    return again, (following - once.time) / DAY, censored


def bought_again(
    wait: NDArray[np.float64], censored: NDArray[np.bool_], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share that bought again within so many days, with those whose time is not over yet counted fairly.

    Kaplan & Meier 1958: a line that ends with the data stays in the count for as long as it was seen.
    """
    times, events = np.unique(wait[~censored], return_counts=True)
    at_risk = len(wait) - np.searchsorted(np.sort(wait), times, side="left")
    left = np.concatenate(([1.0], np.cumprod(1 - events / at_risk)))
    return np.asarray(1 - left[np.searchsorted(times, at, side="right")])


def _waiting(wait: NDArray[np.float64], censored: NDArray[np.bool_]) -> dict[str, Any]:
    seen = wait[~censored]
    longest = float(wait.max()) if len(wait) else 0.0
    grid = np.arange(0.0, min(longest, 365.0) + 1, 5)
    return {
        "lines": len(wait),
        "repeats": len(seen),
        "quartiles": [float(v) for v in np.quantile(seen, (0.25, 0.5, 0.75))] if len(seen) else None,
        "within": {
            str(day): float(bought_again(wait, censored, np.array([float(day)]))[0]) for day in WITHIN if day <= longest
        },
        "curve": {
            "days": grid.tolist(),
            "share": [round(float(v), 4) for v in bought_again(wait, censored, grid)] if len(wait) else [],
        },
    }


def _classes(shop: Interactions) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Number of each product's class, and the names of the classes."""
    priced = ~np.isnan(shop.price)
    buyers = _distinct(shop.item, shop.user, len(shop.items))
    if not priced.any():
        return _thirds(buyers.astype(np.float64)), CLASSES_BY_BUYERS
    order = np.lexsort((shop.price[priced], shop.item[priced]))
    item, price = shop.item[priced][order], shop.price[priced][order]
    found, begin, count = np.unique(item, return_index=True, return_counts=True)
    median = np.full(len(shop.items), np.median(price), np.float64)
    median[found] = (price[begin + (count - 1) // 2] + price[begin + count // 2]) / 2
    return _thirds(median), CLASSES


def _thirds(figure: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.searchsorted(np.quantile(figure, (1 / 3, 2 / 3)), figure, side="left").astype(np.int64)


def _distinct(group: NDArray[np.int32], member: NDArray[np.int32], size: int) -> NDArray[np.int64]:
    """How many different members each group has [size]."""
    pairs = np.unique(np.stack((group, member)), axis=1)
    return np.bincount(pairs[0], minlength=size)


def _with_two_baskets(once: Interactions) -> NDArray[np.int64]:
    return np.flatnonzero(_distinct(once.user, once.basket, len(once.users)) > 1)


def _months(once: Interactions, again: NDArray[np.bool_]) -> list[dict[str, Any]]:
    month = once.time.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
    found, place = np.unique(month, return_inverse=True)
    shares = np.bincount(place, again) / np.bincount(place)
    first = [int(once.time[place == at][0]) for at in range(len(found))]
    return [{"month": date(time)[:7], "share": float(share)} for time, share in zip(first, shares, strict=True)]


def _items(shop: Interactions, once: Interactions, again: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """By the lower end of the 95 % interval (Wilson 1927) of the share of buyers who bought again."""
    size = len(shop.items)
    buyers = _distinct(once.item, once.user, size)
    returned = _distinct(once.item[again], once.user[again], size)
    low, high = wilson(returned, buyers)
    order = [int(item) for item in np.argsort(-low, kind="stable") if buyers[item] >= LEAST_BUYERS][:SHOWN]
    return [
        {
            "item": shop.items[item],
            "title": title(shop, item),
            "buyers": int(buyers[item]),
            "share": float(returned[item] / buyers[item]),
            "low": float(low[item]),
            "high": float(high[item]),
        }
        for item in order
    ]
