"""Products that rise, fall, or have a season, apart from the shop's own ups and downs."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, norm, t

from build.behaviour.shop import Shop, monday, week
from build.shelf.interactions import DAY
from shelfbridge.measure.report import GREEN, RED

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
Z = 1.96
"""Standard errors to each end of a 95 % interval."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_STEEPEST = 1.0
Counts = NDArray[np.int64]


def trends(shop: Shop) -> dict[str, Any]:
    """Products rising and falling in the latest weeks, and those with a season of the year."""
    whole = shop.whole_weeks
    counts = np.zeros((len(shop.seen.items), len(whole)), np.int64)
    place = week(shop.lines["time"]) - whole[0]
    inside = place.between(0, len(whole) - 1)
    np.add.at(counts, (shop.lines["item"][inside], place[inside]), 1)
    exposure = week(shop.baskets["time"]).value_counts().reindex(whole, fill_value=0).to_numpy()
    seasons = _seasons(shop, counts, exposure)
    moving = _moving(shop, counts, exposure, set() if seasons is None else {row["item"] for row in seasons["items"]})
    if seasons is not None:
        seasons["items"] = seasons["items"][: 2 * SHOWN]
    return {**moving, "seasonal": seasons}


def slopes(counts: Counts, exposure: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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
    spread = _dispersion(counts, total[:, None] * weight)
    return slope, np.sqrt(spread / (total * np.maximum(variance, 1e-9)))


def _tilted(
    slope: NDArray[np.float64], time: NDArray[np.float64], exposure: Counts
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shares of a product's baskets by week if it grows so [P, W], and mean and variance of their time [P]."""
    weight = exposure * np.exp(slope[:, None] * time)
    weight /= weight.sum(1, keepdims=True)
    mean = weight @ time
    return weight, mean, weight @ time**2 - mean**2


def _dispersion(counts: Counts, expected: NDArray[Any]) -> NDArray[np.float64]:
    """Pearson's dispersion of counts about what two parameters expect [P]; 1 at least."""
    pearson = ((counts - expected) ** 2 / np.maximum(expected, 1e-9)).sum(1)
    spread: NDArray[np.float64] = np.maximum(1.0, pearson / (counts.shape[1] - 2))
    return spread


def _moving(shop: Shop, counts: Counts, exposure: Counts, seasonal: set[str]) -> dict[str, Any]:
    before, counts, exposure = counts[:, :-WINDOW].sum(1), counts[:, -WINDOW:], exposure[-WINDOW:]
    known = np.flatnonzero(counts.sum(1) >= LEAST)
    before, counts = before[known], counts[known]
    slope, error = slopes(counts, exposure)
    freedom = len(exposure) - 2
    reach = t.ppf(0.975, freedom) * error
    rows = pd.DataFrame({"item": known, "baskets": counts.sum(1), "change": slope, "low": slope - reach})
    rows = rows.assign(high=slope + reach, q=false_discovery_control(2 * t.sf(np.abs(slope / error), freedom)))
    sure = rows["q"] <= ERRORS
    new, gone = counts[:, :STEP].sum(1) + before == 0, counts[:, -STEP:].sum(1) == 0
    lists = {
        "rising": rows[sure & (slope > 0) & ~new].sort_values("low", ascending=False, kind="stable"),
        "new": rows[new & ~gone].sort_values("baskets", ascending=False, kind="stable"),
        "falling": rows[sure & (slope < 0) & ~gone].sort_values("high", kind="stable"),
        "gone": rows[gone & ~new].sort_values("baskets", ascending=False, kind="stable"),
    }

    def shown(at: int, row: dict[str, Any]) -> dict[str, Any]:
        product = shop.product(row["item"])
        return {
            **product,
            "baskets": row["baskets"],
            **{name: float(np.expm1(STEP * row[name])) for name in ("change", "low", "high")},
            "q": row["q"],
            "seasonal": product["item"] in seasonal,
            "per_thousand": (1000 * counts[at] / np.maximum(exposure, 1)).round(1).tolist(),
        }

    return {
        "weeks": [monday(number) for number in shop.whole_weeks[-WINDOW:]],
        "step": STEP,
        "tested": len(known),
        "error_rate": ERRORS,
        **{
            name: {"found": len(some), "items": [shown(*row) for row in some[:SHOWN].to_dict("index").items()]}
            for name, some in lists.items()
        },
    }


def _seasons(shop: Shop, counts: Counts, exposure: Counts) -> dict[str, Any] | None:
    """The products whose share of the baskets is clearly higher in three months; None of less than a year."""
    if (shop.seen.time[-1] - shop.seen.time[0]) / DAY < YEAR_DAYS:
        return None
    times = shop.lines.groupby("item")["time"]
    span = ((times.max() - times.min()) / DAY).reindex(range(len(counts)), fill_value=0).to_numpy()
    known = np.flatnonzero((counts.sum(1) >= LEAST) & (span >= SPAN_DAYS))
    thursdays = np.array([monday(number) for number in shop.whole_weeks], "datetime64[D]") + 3
    begin, ratio, error = peaks(counts[known], exposure, thursdays.astype("datetime64[M]").astype(np.int64) % 12)
    q = false_discovery_control(np.minimum(12 * norm.sf(ratio / error), 1.0))
    rows = pd.DataFrame({"item": known, "month": begin, "baskets": counts[known].sum(1), "times": ratio})
    rows = rows.assign(low=ratio - Z * error, high=ratio + Z * error)
    clear = rows[(q <= ERRORS) & (rows["low"] >= np.log(CLEAR))].sort_values("low", ascending=False, kind="stable")
    return {
        "tested": len(known),
        "found": len(clear),
        "items": [
            {
                **shop.product(row["item"]),
                "begin": MONTHS[row["month"]],
                "end": MONTHS[(row["month"] + PEAK - 1) % 12],
                "baskets": row["baskets"],
                **{name: float(np.exp(row[name])) for name in ("times", "low", "high")},
            }
            for row in clear.to_dict("records")
        ],
    }


def peaks(
    counts: Counts, exposure: Counts, month: NDArray[np.int64]
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
        spread = _dispersion(counts, np.where(inside, rate_in[:, None], rate_out[:, None]) * exposure)
        found.append((np.log(rate_in / rate_out), np.sqrt(spread * (1 / hits + 1 / rest))))
    ratio, error = (np.stack(part) for part in zip(*found, strict=True))
    begin = np.argmax(ratio / error, axis=0)
    every = np.arange(len(counts))
    return begin, ratio[begin, every], error[begin, every]


def _draw(figure: Figure, chapter: dict[str, Any]) -> None:
    panels = figure.subplots(4, 3, sharex=True)
    weeks = [name[2:] for name in chapter["weeks"]]
    for half, (name, colour) in enumerate((("rising", GREEN), ("falling", RED))):
        rows = chapter[name]["items"]
        for at, axes in enumerate(panels[2 * half : 2 * half + 2].flat):
            if at >= len(rows):
                axes.set_axis_off()
                continue
            values, title = rows[at]["per_thousand"], rows[at]["title"]
            axes.fill_between(range(len(values)), values, color=colour, alpha=0.15)
            axes.plot(values, color=colour, linewidth=1.2)
            axes.set_title(title if len(title) < 28 else title[:26] + "…", fontsize=7.5, loc="left")
            axes.set_ylim(bottom=0)
            step = max(1, len(values) - 1)
            axes.set_xticks(range(0, len(values), step), weeks[::step], fontsize=7)
    figure.supylabel("baskets with it, of 1,000", fontsize=9)


PLOTS = {"trends": ((9, 6.2), _draw)}
