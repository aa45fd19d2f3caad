"""Buying again: how much of the trade it is, how soon it happens, and with which products."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy.stats import CensoredData, ecdf
from statsmodels.stats.proportion import proportion_confint

from build.behaviour.shop import Shop
from build.shelf.interactions import DAY
from shelfbridge.measure.report import BLUE, GREEN, ORANGE

CLASSES = ("cheap third", "middle third", "dear third")
"""Of the products by their median price; where no price is known, of fewest to most buyers."""
CLASSES_BY_BUYERS = ("few buyers", "some buyers", "many buyers")
WITHIN = (7, 30, 60, 90, 180)
"""Days after which the share that bought again is given."""
LEAST_BUYERS = 30
SHOWN = 20


def repeats(shop: Shop) -> dict[str, Any]:
    """Shares of repeat lines, the time between them, and the products bought again most."""
    lines = occasions(shop.lines, shop.end)
    by_user = lines.groupby("user").agg(baskets=("basket", "nunique"), again=("again", "mean"))
    several = by_user["again"][by_user["baskets"] > 1]
    number, names = _classes(shop)
    of_line = lines["item"].map(number)
    return {
        "share": float(lines["again"].mean()),
        "months": _months(lines),
        "users_with_any": float((several > 0).mean()) if len(several) else 0.0,
        "share_by_user": several.quantile([0.1, 0.25, 0.5, 0.75, 0.9]).tolist() if len(several) else [],
        "classes": [{"name": name, **_waiting(lines[of_line == at])} for at, name in enumerate(names)],
        "all": _waiting(lines),
        "items": _items(shop, lines),
    }


def occasions(lines: pd.DataFrame, end: int) -> pd.DataFrame:
    """What comes before and after each line of a shop.

    Returns:
        The lines with `again`: whether the user had bought the product before; `wait`: days until the user buys it
        again, or else until the end; `censored`: whether it is the end.
    """
    same = lines.groupby(["user", "item"])["time"]
    following = same.shift(-1)
    wait = (following.fillna(end) - lines["time"]) / DAY
    return lines.assign(again=same.cumcount() > 0, wait=wait, censored=following.isna())


def bought_again(wait: ArrayLike, censored: ArrayLike, at: ArrayLike) -> NDArray[np.float64]:
    """Share that bought again within so many days, with those whose time is not over yet counted fairly.

    Kaplan & Meier 1958: a line that ends with the data stays in the count for as long as it was seen.
    """
    return np.asarray(ecdf(CensoredData.right_censored(wait, censored)).cdf.evaluate(at))


def _waiting(lines: pd.DataFrame) -> dict[str, Any]:
    wait, censored = lines["wait"], lines["censored"]
    seen = wait[~censored]
    longest = float(wait.max()) if len(wait) else 0.0
    grid = np.arange(0.0, min(longest, 365.0) + 1, 5)
    within = [day for day in WITHIN if day <= longest]
    return {
        "lines": len(wait),
        "repeats": len(seen),
        "quartiles": seen.quantile([0.25, 0.5, 0.75]).tolist() if len(seen) else None,
        "within": dict(zip(map(str, within), bought_again(wait, censored, within).tolist(), strict=True)),
        "curve": {
            "days": grid.tolist(),
            "share": bought_again(wait, censored, grid).round(4).tolist() if len(wait) else [],
        },
    }


def _classes(shop: Shop) -> tuple[pd.Series, tuple[str, ...]]:
    """Number of each product's class by product, and the names of the classes."""
    by_item = shop.table.groupby("item")
    figure, names = by_item["price"].median().fillna(shop.table["price"].median()), CLASSES
    if shop.table["price"].isna().all():
        figure, names = by_item["user"].nunique(), CLASSES_BY_BUYERS
    return pd.Series(np.searchsorted(figure.quantile([1 / 3, 2 / 3]), figure), figure.index), names


def _months(lines: pd.DataFrame) -> list[dict[str, Any]]:
    month = pd.to_datetime(lines["time"], unit="s").dt.strftime("%Y-%m")
    return [{"month": name, "share": share} for name, share in lines.groupby(month)["again"].mean().items()]


def _items(shop: Shop, lines: pd.DataFrame) -> list[dict[str, Any]]:
    """By the lower end of the 95 % interval (Wilson 1927) of the share of buyers who bought again."""
    by_item = pd.DataFrame({"buyers": lines.groupby("item")["user"].nunique()})
    by_item["returned"] = lines[lines["again"]].groupby("item")["user"].nunique()
    rows = by_item[by_item["buyers"] >= LEAST_BUYERS].fillna(0)
    rows["share"] = rows["returned"] / rows["buyers"]
    rows["low"], rows["high"] = proportion_confint(rows["returned"], rows["buyers"], method="wilson")
    best = rows.drop(columns="returned").sort_values("low", ascending=False, kind="stable")[:SHOWN]
    return [{**shop.product(item), **row} for item, row in best.to_dict("index").items()]


def _draw(figure: Figure, chapter: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2)
    months = pd.DataFrame(chapter["months"])
    left.bar(months.index, 100 * months["share"], color=BLUE, alpha=0.7)
    left.set_xticks(months.index, months["month"], rotation=60, ha="right")
    left.set_ylabel("repeat lines, %")
    for row, colour in zip(chapter["classes"], (GREEN, BLUE, ORANGE), strict=True):
        shares = 100 * np.array(row["curve"]["share"])
        right.step(row["curve"]["days"][: len(shares)], shares, color=colour, where="post", label=row["name"])
    right.set_xlabel("days after buying a product")
    right.set_ylabel("bought it again, %")
    right.set_ylim(bottom=0)
    right.legend(frameon=False)


PLOTS = {"repeats": ((9, 3.4), _draw)}
