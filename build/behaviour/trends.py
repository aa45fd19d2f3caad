"""Products that rise, fall, or have a season, apart from the shop's own ups and downs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from build.behaviour.chance import Z, adjusted
from build.behaviour.tables import lines, monday, title, weeks, whole_weeks
from build.shelf.interactions import DAY, Interactions

WINDOW = 26
"""Latest weeks in which a trend is looked for."""
LEAST = 30
"""Baskets with a product, for anything to be said of it."""
ERRORS = 0.05
SHOWN = 12
STEP = 4
"""Weeks of which the change is given. First sold after as many, a product is new; not sold in as many, it is gone."""
PEAK = 3
"""Months in a row that make a season."""
CLEAR = 1.5
"""Times the share of the other months, at the lower end of the interval, that make a season worth naming. A week is
like the one before, so that the interval alone would let too much through."""
YEAR_DAYS, SPAN_DAYS = 330, 300
"""Of the data, and from a product's first sale to its last, for a season to be told from a launch."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_STEEPEST = 1.0


def trends(shop: Interactions) -> dict[str, Any]:
    """Products rising and falling in the latest weeks, and those with a season of the year."""
    once = lines(shop)
    whole = whole_weeks(shop.time)
    counts, baskets = _weekly(once, whole)
    yearly = _seasonal(shop, once, whole, counts, baskets)
    seasonal = set(yearly.pop("all")) if yearly else set()
    before = counts[:, :-WINDOW].sum(1)
    moving = _moving(shop, whole[-WINDOW:], counts[:, -WINDOW:], baskets[-WINDOW:], before=before, seasonal=seasonal)
    return {**moving, "seasonal": yearly}


def _weekly(once: Interactions, whole: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Baskets with each product by week [P, W], and all baskets by week [W]."""
    week = weeks(once.time) - whole[0]
    inside = (week >= 0) & (week < len(whole))
    counts = np.zeros((len(once.items), len(whole)), np.int64)
    np.add.at(counts, (once.item[inside], week[inside]), 1)
    first = np.unique(once.basket[inside], return_index=True)[1]
    return counts, np.bincount(week[inside][first], minlength=len(whole))


def slopes(counts: NDArray[np.int64], exposure: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Growth a week of the logarithm of each product's share of the baskets, and its standard error.

    Quasi-Poisson regression on time with the baskets as exposure: a good week of the shop moves no product. Errors are
    widened by the dispersion that is seen, where it is above 1.

    Args:
        counts: of at least one basket each [P, W].
        exposure: baskets of the shop [W].
    """
    time = np.arange(len(exposure)) - (len(exposure) - 1) / 2
    total = counts.sum(1)
    goal = counts @ time / total
    slope = np.zeros(len(counts))
    for _ in range(50):
        _, mean, variance = _tilted(slope, time, exposure)
        step = np.clip((goal - mean) / np.maximum(variance, 1e-9), -0.1, 0.1)
        slope = np.clip(slope + step, -_STEEPEST, _STEEPEST)
        if np.abs(step).max(initial=0) < 1e-9:
            break
    weight, _, variance = _tilted(slope, time, exposure)
    expected = total[:, None] * weight
    pearson = ((counts - expected) ** 2 / np.maximum(expected, 1e-9)).sum(1)
    dispersion = np.maximum(1.0, pearson / (len(exposure) - 2))
    return slope, np.sqrt(dispersion / (total * np.maximum(variance, 1e-9)))


def _tilted(
    slope: NDArray[np.float64], time: NDArray[np.float64], exposure: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shares of a product's baskets by week if it grows so [P, W], and mean and variance of their time [P]."""
    weight = exposure * np.exp(slope[:, None] * time)
    weight /= weight.sum(1, keepdims=True)
    mean = weight @ time
    return weight, mean, weight @ time**2 - mean**2


def _moving(
    shop: Interactions,
    whole: NDArray[np.int64],
    counts: NDArray[np.int64],
    exposure: NDArray[np.int64],
    *,
    before: NDArray[np.int64],
    seasonal: set[str],
) -> dict[str, Any]:
    known = np.flatnonzero(counts.sum(1) >= LEAST)
    slope, error = slopes(counts[known], exposure)
    freedom = len(whole) - 2
    reach = t.ppf(0.975, freedom) * error
    q = adjusted(2 * t.sf(np.abs(slope / error), freedom), len(known))
    low, high = slope - reach, slope + reach

    def row(at: int) -> dict[str, Any]:
        item = int(known[at])
        share = counts[item] / np.maximum(exposure, 1)
        return {
            "item": shop.items[item],
            "title": title(shop, item),
            "baskets": int(counts[item].sum()),
            **{
                name: float(np.expm1(STEP * line[at]))
                for name, line in (("change", slope), ("low", low), ("high", high))
            },
            "q": float(q[at]),
            "seasonal": shop.items[item] in seasonal,
            "per_thousand": [round(1000 * float(value), 1) for value in share],
        }

    sure = q <= ERRORS
    new = counts[known][:, :STEP].sum(1) + before[known] == 0
    gone = counts[known][:, -STEP:].sum(1) == 0
    lists = {
        "rising": _picked(sure & (slope > 0) & ~new, -low),
        "new": _picked(new & ~gone, -counts[known].sum(1)),
        "falling": _picked(sure & (slope < 0) & ~gone, high),
        "gone": _picked(gone & ~new, -counts[known].sum(1)),
    }
    return {
        "weeks": [monday(int(week)) for week in whole],
        "step": STEP,
        "tested": len(known),
        "error_rate": ERRORS,
        **{name: {"found": len(some), "items": [row(at) for at in some[:SHOWN]]} for name, some in lists.items()},
    }


def _picked(some: NDArray[np.bool_], by: NDArray[Any]) -> list[int]:
    """Places of some, in the order of a figure."""
    return [int(at) for at in np.argsort(by, kind="stable") if some[at]]


def _seasonal(
    shop: Interactions,
    once: Interactions,
    whole: NDArray[np.int64],
    counts: NDArray[np.int64],
    exposure: NDArray[np.int64],
) -> dict[str, Any] | None:
    """The products whose share of the baskets is clearly higher in three months; None of less than a year."""
    if (shop.time[-1] - shop.time[0]) / DAY < YEAR_DAYS:
        return None
    first, last = np.full(len(shop.items), np.iinfo(np.int64).max), np.zeros(len(shop.items), np.int64)
    np.minimum.at(first, once.item, once.time)
    np.maximum.at(last, once.item, once.time)
    known = np.flatnonzero((counts.sum(1) >= LEAST) & ((last - first) / DAY >= SPAN_DAYS))
    thursday = np.array([np.datetime64(monday(int(week))) + 3 for week in whole])
    month = thursday.astype("datetime64[M]").astype(np.int64) % 12
    begin, ratio, error = peaks(counts[known], exposure, month)
    q = adjusted(np.minimum(12 * norm.sf(ratio / error), 1.0), len(known))
    low = ratio - Z * error
    order = [int(at) for at in np.argsort(-low, kind="stable") if q[at] <= ERRORS and low[at] >= np.log(CLEAR)]
    return {
        "all": [shop.items[int(known[at])] for at in order],
        "tested": len(known),
        "found": len(order),
        "items": [
            {
                "item": shop.items[int(known[at])],
                "title": title(shop, int(known[at])),
                "begin": MONTHS[int(begin[at])],
                "end": MONTHS[(int(begin[at]) + PEAK - 1) % 12],
                "baskets": int(counts[known[at]].sum()),
                "times": float(np.exp(ratio[at])),
                "low": float(np.exp(low[at])),
                "high": float(np.exp(ratio[at] + Z * error[at])),
            }
            for at in order[: 2 * SHOWN]
        ],
    }


def peaks(
    counts: NDArray[np.int64], exposure: NDArray[np.int64], month: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The three months in a row of the calendar in which each product sells most clearly better.

    Args:
        counts: [P, W].
        exposure: [W].
        month: of each week, 0 for January [W].

    Returns:
        First month, logarithm of the ratio of the shares inside and outside, and its standard error, widened as that of
        `slopes`; each [P]. The best of twelve was picked: multiply a p-value by 12.
    """
    found = []
    for begin in range(12):
        inside = (month - begin) % 12 < PEAK
        hits, rest = counts[:, inside].sum(1) + 0.5, counts[:, ~inside].sum(1) + 0.5
        rate_in, rate_out = hits / max(1, exposure[inside].sum()), rest / max(1, exposure[~inside].sum())
        expected = np.where(inside, rate_in[:, None], rate_out[:, None]) * exposure
        pearson = ((counts - expected) ** 2 / np.maximum(expected, 1e-9)).sum(1)
        dispersion = np.maximum(1.0, pearson / (len(exposure) - 2))
        found.append((np.log(rate_in / rate_out), np.sqrt(dispersion * (1 / hits + 1 / rest))))
    ratio, error = (np.stack(part) for part in zip(*found, strict=True))
    begin = np.argmax(ratio / error, axis=0)
    every = np.arange(len(counts))
    return begin, ratio[begin, every], error[begin, every]
