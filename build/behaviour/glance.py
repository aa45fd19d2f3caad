"""The shop at a glance: how much, how many, and when in the week."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from statsmodels.tsa.seasonal import STL

from build.behaviour.shop import Shop, date, monday, week, weekday
from build.shelf.interactions import DAY
from shelfbridge.errors import DataError
from shelfbridge.measure.report import BLUE, ORANGE

LEAST_WEEKS = 4
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
QUARTER = 13


def glance(shop: Shop) -> dict[str, Any]:
    """Size of the shop, its weeks, and its hours.

    Raises:
        DataError: less than four whole weeks.
    """
    seen, held = shop.seen, shop.baskets
    by_user = held.groupby("user")["worth"].agg(["size", "sum"])
    revenue, tenth = float(held["worth"].sum()), max(1, len(by_user) // 10)
    return {
        "begin": date(int(seen.time[0])),
        "end": date(int(seen.time[-1])),
        "days": int(seen.time[-1] // DAY - seen.time[0] // DAY + 1),
        "users": len(by_user),
        "items": int(shop.lines["item"].nunique()),
        "baskets": len(held),
        "lines": len(shop.lines),
        "revenue": revenue,
        "unpriced": float(np.isnan(seen.price).mean()),
        "lines_a_basket": float(held["lines"].median()),
        "revenue_a_basket": float(held["worth"].median()),
        "baskets_a_user": float(by_user["size"].mean()),
        "one_basket": float((by_user["size"] == 1).mean()),
        "best_tenth": float(by_user["sum"].nlargest(tenth).sum() / revenue) if revenue else 0.0,
        **_weekly(held, shop.whole_weeks),
        **_hours(held["time"].to_numpy()),
    }


def _weekly(held: pd.DataFrame, whole: NDArray[np.int64]) -> dict[str, Any]:
    if len(whole) < LEAST_WEEKS:
        raise DataError(f"{len(whole)} whole weeks say too little of a shop; give {LEAST_WEEKS} or more")
    day = held["time"] // DAY
    daily = day.value_counts().reindex(range(day.min(), day.max() + 1), fill_value=0)
    trend, season, rest = decomposed(daily.to_numpy(np.float64))
    by_week = held.groupby(week(held["time"]))
    rows = by_week.agg(baskets=("user", "size"), revenue=("worth", "sum"), users=("user", "nunique"))
    rows = rows.reindex(whole, fill_value=0)
    rows["trend"] = pd.Series(trend).groupby(week(daily.index.to_numpy() * DAY)).sum()
    return {
        "weeks": [{"week": monday(number), **row} for number, row in rows.to_dict("index").items()],
        "busiest_week": monday(rows["baskets"].idxmax()),
        "quietest_week": monday(rows["baskets"].idxmin()),
        "growth": _growth(rows["trend"].to_numpy()),
        "strength": {"trend": _strength(trend, rest), "weekday": _strength(season, rest)},
    }


def decomposed(daily: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Trend, weekly season and rest of a daily series, which they add up to (STL, robust; Cleveland et al. 1990)."""
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


def _hours(time: NDArray[np.int64]) -> dict[str, Any]:
    counts = np.zeros((7, 24), np.int64)
    np.add.at(counts, (weekday(time), time % DAY // 3600), 1)
    begin, end = _busiest_run(counts.sum(0) / counts.sum(), 0.5)
    return {
        "hours": counts.tolist(),
        "best_weekday": WEEKDAYS[int(counts.sum(1).argmax())],
        "closed": [name for name, of_day in zip(WEEKDAYS, counts, strict=True) if not of_day.any()],
        "half_of_baskets": {"from": begin, "to": end},
    }


def _busiest_run(shares: NDArray[np.float64], goal: float) -> tuple[int, int]:
    """The fewest hours in a row with a share of the baskets: the first, and the one after the last."""
    for size in range(1, len(shares)):
        sums = np.convolve(shares, np.ones(size), "valid")
        if sums.max() >= goal:
            return int(sums.argmax()), int(sums.argmax()) + size
    return 0, len(shares)


def _draw_weeks(figure: Figure, chapter: dict[str, Any]) -> None:
    upper, lower = figure.subplots(2, 1, sharex=True)
    rows = pd.DataFrame(chapter["weeks"])
    upper.bar(rows.index, rows["baskets"], color=BLUE, alpha=0.45, label="baskets")
    upper.plot(rows.index, rows["trend"], color=BLUE, linewidth=2, label="trend")
    upper.set_ylabel("baskets a week")
    upper.legend(frameon=False, loc="upper left")
    lower.plot(rows.index, rows["revenue"], color=ORANGE, marker="o", markersize=3)
    lower.set_ylim(bottom=0)
    lower.set_ylabel(f"{chapter['value']} a week")
    lower.yaxis.set_major_formatter("{x:,.0f}")
    shown = rows["week"][:: max(1, len(rows) // 10)]
    lower.set_xticks(shown.index, shown, rotation=30, ha="right")


def _draw_hours(figure: Figure, chapter: dict[str, Any]) -> None:
    axes: Axes = figure.subplots()
    mesh = axes.pcolormesh(np.array(chapter["hours"]), cmap="Blues", edgecolors="white", linewidth=0.6)
    axes.set_yticks(np.arange(7) + 0.5, WEEKDAYS)
    axes.set_xticks(np.arange(0, 25, 2), [f"{hour}:00" for hour in range(0, 25, 2)])
    axes.invert_yaxis()
    figure.colorbar(mesh, ax=axes, label="baskets")


PLOTS = {"weeks": ((9, 4.6), _draw_weeks), "hours": ((9, 2.8), _draw_hours)}
