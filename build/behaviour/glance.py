"""The shop at a glance: how much, how many, and when in the week."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from build.behaviour.tables import Baskets, baskets, date, days, monday, weekdays, weeks, whole_weeks
from build.shelf.interactions import DAY, Interactions
from shelfbridge.errors import DataError, PrerequisiteError

LEAST_WEEKS = 4
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
QUARTER = 13


def glance(shop: Interactions) -> dict[str, Any]:
    """Size of the shop, its weeks, and its hours.

    Raises:
        DataError: less than four whole weeks.
    """
    held = baskets(shop)
    visits = np.unique(held.user, return_counts=True)[1]
    return {
        "begin": date(int(shop.time[0])),
        "end": date(int(shop.time[-1])),
        "days": int(shop.time[-1] // DAY - shop.time[0] // DAY + 1),
        "users": len(visits),
        "items": len(np.unique(shop.item)),
        "baskets": len(held),
        "lines": int(held.lines.sum()),
        "revenue": float(held.worth.sum()),
        "unpriced": float(np.isnan(shop.price).mean()),
        "lines_a_basket": float(np.median(held.lines)),
        "revenue_a_basket": float(np.median(held.worth)),
        "baskets_a_user": float(visits.mean()),
        "one_basket": float((visits == 1).mean()),
        "best_tenth": _share_of_best_tenth(held),
        **_weekly(held),
        **_hours(held),
    }


def _share_of_best_tenth(held: Baskets) -> float:
    """Share of the revenue that comes from the tenth of users who spend most."""
    spent = np.sort(np.bincount(held.user, held.worth)[np.unique(held.user)])[::-1]
    return float(spent[: max(1, len(spent) // 10)].sum() / spent.sum()) if spent.sum() else 0.0


def _weekly(held: Baskets) -> dict[str, Any]:
    whole = whole_weeks(held.time)
    if len(whole) < LEAST_WEEKS:
        raise DataError(f"{len(whole)} whole weeks say too little of a shop; give {LEAST_WEEKS} or more")
    first = int(days(held.time[:1])[0])
    daily = np.bincount(days(held.time) - first).astype(np.float64)
    trend, season, rest = decomposed(daily)
    week = weeks((first + np.arange(len(daily))) * DAY) - whole[0]
    inside = (week >= 0) & (week < len(whole))
    number = weeks(held.time) - whole[0]
    of_week = (number >= 0) & (number < len(whole))
    levels = np.bincount(week[inside], trend[inside], minlength=len(whole)).astype(np.float64)
    active = [len(np.unique(held.user[number == at])) for at in range(len(whole))]
    counts = np.bincount(number[of_week], minlength=len(whole))
    revenue = np.bincount(number[of_week], held.worth[of_week], minlength=len(whole))
    return {
        "weeks": [
            {"week": monday(int(w)), "baskets": int(b), "revenue": float(r), "users": u, "trend": float(level)}
            for w, b, r, u, level in zip(whole, counts, revenue, active, levels, strict=True)
        ],
        "busiest_week": monday(int(whole[counts.argmax()])),
        "quietest_week": monday(int(whole[counts.argmin()])),
        "growth": _growth(levels),
        "strength": {"trend": _strength(trend, rest), "weekday": _strength(season, rest)},
    }


def decomposed(daily: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Trend, weekly season and rest of a daily series, which they add up to (STL, robust; Cleveland et al. 1990).

    Raises:
        PrerequisiteError: statsmodels is not installed.
    """
    try:
        from statsmodels.tsa.seasonal import STL
    except ImportError as error:
        raise PrerequisiteError(f"the weekly season needs statsmodels ({error}); pip install statsmodels") from error
    parts = STL(daily, period=7, robust=True).fit()
    return parts.trend, parts.seasonal, parts.resid


def _strength(part: NDArray[np.float64], rest: NDArray[np.float64]) -> float:
    """0 to 1: how much of what the other part leaves over is this one (Hyndman & Athanasopoulos, FPP3, 4.3)."""
    varies = float((part + rest).var())
    return max(0.0, 1.0 - float(rest.var()) / varies) if varies else 0.0


def _growth(levels: NDArray[np.float64]) -> float | None:
    """Trend of the last four weeks against the four that lay a quarter earlier."""
    if len(levels) < QUARTER + LEAST_WEEKS:
        return None
    before = levels[-QUARTER - LEAST_WEEKS : -QUARTER].mean()
    return float(levels[-LEAST_WEEKS:].mean() / before - 1) if before > 0 else None


def _hours(held: Baskets) -> dict[str, Any]:
    hour = held.time % DAY // 3600
    counts = np.zeros((7, 24), np.int64)
    np.add.at(counts, (weekdays(held.time), hour), 1)
    by_hour = counts.sum(0)
    edge = _busiest_run(by_hour / by_hour.sum(), 0.5)
    return {
        "hours": counts.tolist(),
        "best_weekday": WEEKDAYS[int(counts.sum(1).argmax())],
        "closed": [WEEKDAYS[day] for day in range(7) if not counts[day].any()],
        "half_of_baskets": {"from": edge[0], "to": edge[1]},
    }


def _busiest_run(shares: NDArray[np.float64], goal: float) -> tuple[int, int]:
    """The fewest hours in a row with a share of the baskets: the first, and the one after the last."""
    for size in range(1, len(shares)):
        sums = np.convolve(shares, np.ones(size), "valid")
        if sums.max() >= goal:
            return int(sums.argmax()), int(sums.argmax()) + size
    return 0, len(shares)
