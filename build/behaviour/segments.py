"""Shoppers by recency, frequency and value, and how they move between the segments of `segments.toml`."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from build.behaviour.shop import Shop
from build.shelf.interactions import DAY
from shelfbridge.measure.report import BLUE, GREY

SEGMENTS: list[dict[str, str]] = tomllib.loads(Path(__file__).with_name("segments.toml").read_text())["segments"]
NAMES = [segment["name"] for segment in SEGMENTS]
NONE = "no basket"


def shoppers(held: pd.DataFrame, now: int) -> pd.DataFrame:
    """Everyone who has a basket: recency (days since the last one), frequency (baskets) and value (what was paid)."""
    people = held.groupby("user").agg(last=("time", "max"), frequency=("time", "size"), value=("worth", "sum"))
    return people.assign(recency=(now - people["last"]) / DAY)


def limits(held: pd.DataFrame, now: int) -> dict[str, float]:
    """Where the words of the rules begin, by a shop's own baskets.

    Returns:
        `active_days`: the last basket is at most so many days old, and nine of ten returns came sooner; `frequent`:
        baskets, the upper quarter of shoppers, and 3 at least; `valuable`: spent, the upper fifth of shoppers.
    """
    people = shoppers(held, now)
    gaps = held.groupby("user")["time"].diff() / DAY
    gaps = gaps[gaps > 0]
    return {
        "active_days": float(np.ceil(gaps.quantile(0.9))) if len(gaps) else float(people["recency"].median()),
        "frequent": max(3, int(np.ceil(people["frequency"].quantile(0.75)))),
        "valuable": float(people["value"].quantile(0.8)),
    }


def assigned(people: pd.DataFrame, limit: dict[str, float]) -> NDArray[np.int64]:
    """Number of the segment of each: the first whose rule fits [S]."""
    words = pd.DataFrame(
        {
            "active": people["recency"] <= limit["active_days"],
            "frequent": people["frequency"] >= limit["frequent"],
            "valuable": people["value"] >= limit["valuable"],
            "once": people["frequency"] == 1,
        }
    )
    number: NDArray[np.int64] = np.argmax([words.eval(segment["when"]) for segment in SEGMENTS], axis=0)
    return number


def segments(shop: Shop) -> dict[str, Any]:
    """Sizes and revenue of the segments now, and the movement from the first half of the time to the second."""
    limit = limits(shop.baskets, shop.end)
    people = shoppers(shop.baskets, shop.end)
    number = assigned(people, limit)
    rows = []
    for at, segment in enumerate(SEGMENTS):
        some = people[number == at]
        rows.append(
            {
                **{name: segment[name] for name in ("name", "rule", "advice")},
                "users": len(some),
                "share": len(some) / len(people),
                "revenue_share": float(some["value"].sum() / (people["value"].sum() or 1.0)),
                **{
                    name: float(some[name].median()) if len(some) else None
                    for name in ("recency", "frequency", "value")
                },
            }
        )
    return {"limits": limit, "segments": rows, "movement": movement(shop.baskets, shop.end)}


def movement(held: pd.DataFrame, now: int) -> dict[str, Any]:
    """From the segment at the end of the first half to the one at the end of the second.

    Each half counts its own baskets only, and both obey the limits of the first half.

    Returns:
        `counts`: rows are the segments of the first half and then those without a basket in it; columns, of the second.
    """
    begin = int(held["time"].iloc[0])
    middle = begin + (now - begin) // 2
    early, late = held[held["time"] < middle], held[held["time"] >= middle]
    limit = limits(early, middle)
    place = pd.DataFrame(len(SEGMENTS), index=held["user"].unique(), columns=["early", "late"])
    for half, some, moment in (("early", early, middle), ("late", late, now)):
        people = shoppers(some, moment)
        place.loc[people.index, half] = assigned(people, limit)
    counts = np.zeros((len(SEGMENTS) + 1, len(SEGMENTS) + 1), np.int64)
    np.add.at(counts, (place["early"], place["late"]), 1)

    def share(segment: str, kept: slice) -> float | None:
        of = counts[NAMES.index(segment)]
        return float(of[kept].sum() / of.sum()) if of.any() else None

    return {
        "limits": limit,
        "names": [*NAMES, NONE],
        "counts": counts.tolist(),
        "champions_kept": share("Champions", slice(3)),
        "champions_gone": share("Champions", slice(-1, None)),
        "newcomers_back": share("Newcomers", slice(-1)),
    }


def _draw_segments(figure: Figure, chapter: dict[str, Any]) -> None:
    axes = figure.subplots()
    rows = pd.DataFrame(chapter["segments"])
    axes.barh(rows.index - 0.2, 100 * rows["share"], 0.38, color=GREY, label="of shoppers")
    axes.barh(rows.index + 0.2, 100 * rows["revenue_share"], 0.38, color=BLUE, label="of revenue")
    axes.set_yticks(rows.index, rows["name"])
    axes.invert_yaxis()
    axes.set_xlabel("%")
    axes.legend(frameon=False)


def _draw_movement(figure: Figure, chapter: dict[str, Any]) -> None:
    names, counts = chapter["movement"]["names"], np.array(chapter["movement"]["counts"])
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes = figure.subplots()
    axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=100, edgecolors="white", linewidth=0.6)
    for (row, column), share in np.ndenumerate(shares):
        if counts[row].any():
            colour = "white" if share > 55 else "#333333"
            axes.text(column + 0.5, row + 0.5, f"{share:.0f}", ha="center", va="center", color=colour)
    axes.set_xticks(np.arange(len(counts)) + 0.5, names, rotation=30, ha="right")
    axes.set_yticks(np.arange(len(counts)) + 0.5, names)
    axes.invert_yaxis()
    axes.set_xlabel("second half, % of the row")
    axes.set_ylabel("first half")


PLOTS = {"segments": ((9, 3.6), _draw_segments), "movement": ((8, 4.6), _draw_movement)}
