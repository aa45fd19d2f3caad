"""A plan as people look at it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.hybrid.plots import BAD, P99, PRIVATE, PUBLIC
from loadtests.plan.fleet import ALWAYS_PRIVATE
from loadtests.plan.search import Plan
from loadtests.slo import Slo
from shelfbridge.measure.report import Cell, Table

Record = Mapping[str, Any]


def record(plans: Sequence[Plan], best: Plan, sale: Record | None, slo: Slo) -> dict[str, Any]:
    """Return all of it as JSON."""
    return {
        "slo": str(slo),
        "best": best.strategy,
        "strategies": {
            plan.strategy: {"cost": plan.cost if plan.cells else None, "failure": plan.failure} for plan in plans
        },
        "hours": [asdict(cell) for cell in best.cells],
        "sale": sale,
    }


STRATEGIES: dict[str, Cell] = {
    "strategy": "{strategy}",
    "cost": lambda plan: "–" if plan["cost"] is None else f"{plan['cost']:,.2f}",
    "": lambda plan: plan["failure"] if plan["cost"] is None else "",
}
SALE = (
    "The sale of {hour} ({rate:g} to {peak:g} a second within {surge_s:g} s): {planned:.0f} ms with the plan, "
    "{planned_refused:.1%} refused; {reactive:.0f} ms and {reactive_refused:.1%} refused with instances for the rate "
    "alone, until those ordered at its begin arrive after {minutes:g} minutes."
)


def blocks(found: Record) -> list[str | Table]:
    """Return the plan as people read it."""
    hours: dict[str, Cell] = {
        "hour": "{hour[name]}",
        "rate": "{hour[rate]:g}",
        "peak": "{hour[peak]:g}",
        "private": "{fleet[private]}",
        "public": "{fleet[public]}",
        "burst above": lambda hour: _threshold(hour["fleet"]["burst_above"]),
        f"{found['slo']} at the peak": "{predicted:.0f}",
        "bursts": "{burst_share:.0%}",
        "cost": "{cost:.2f}",
    }
    plans = [{"strategy": name, **plan} for name, plan in found["strategies"].items()]
    sale = found["sale"]
    return [
        f"**{found['best']}** keeps {found['slo']} at the least cost over {len(found['hours'])} hours.",
        Table.of(STRATEGIES, plans),
        Table.of(hours, found["hours"]),
        SALE.format(**sale, minutes=sale["arrival_s"] / 60) if sale else "",
        "Public instances are ordered the longest arrival time before their hour and paid from then on. Several "
        "instances of a site are assumed to answer as one each does alone; no more than one was measured.",
    ]


def _threshold(value: int) -> str:
    return "never" if value == ALWAYS_PRIVATE else str(value)


def draw(figure: Figure, found: Record) -> None:
    """Demand and instances, the promise, what it costs, and the sale."""
    parts = figure.subplots(2, 2)
    _instances(parts[0][0], found)
    _promise(parts[1][0], found)
    _costs(parts[0][1], found)
    _sale(parts[1][1], found)


def _names(axes: Axes, found: Record) -> range:
    places, names = range(len(found["hours"])), [hour["hour"]["name"] for hour in found["hours"]]
    every = max(1, math.ceil(len(names) / 12))
    axes.set_xticks(places[::every], names[::every], rotation=45, fontsize=8)
    return places


def _instances(axes: Axes, found: Record) -> None:
    places = _names(axes, found)
    private = [hour["fleet"]["private"] for hour in found["hours"]]
    axes.bar(places, private, color=PRIVATE, label="private instances")
    public = [hour["fleet"]["public"] for hour in found["hours"]]
    axes.bar(places, public, bottom=private, color=PUBLIC, label="public instances")
    axes.set_ylabel("instances")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    rates = axes.twinx()
    rates.plot(places, [hour["hour"]["rate"] for hour in found["hours"]], color="#333333", lw=1.2)
    rates.plot(places, [hour["hour"]["peak"] for hour in found["hours"]], color="#333333", lw=1, ls=":")
    rates.set_ylabel("requests a second; dotted: peak")


def _promise(axes: Axes, found: Record) -> None:
    places, limit = _names(axes, found), Slo.parse(found["slo"]).ms
    axes.plot(
        places,
        [hour["predicted"] for hour in found["hours"]],
        color=P99,
        marker="o",
        ms=3,
        label="predicted, at the peak",
    )
    axes.axhline(limit, color="#555555", ls=":", label=f"promised: {found['slo']}")
    axes.set_ylim(0, None)
    axes.set_ylabel("milliseconds")
    axes.legend(frameon=False, fontsize=8)


def _costs(axes: Axes, found: Record) -> None:
    names = list(found["strategies"])
    values = [found["strategies"][name]["cost"] for name in names]
    colours = {"private": PRIVATE, "public": PUBLIC, "hybrid": P99}
    axes.bar(names, [value or 0 for value in values], color=[colours[name] for name in names])
    for place, value in enumerate(values):
        words = "promise cannot be kept" if value is None else f"{value:,.2f}"
        axes.annotate(words, (place, value or 0), ha="center", va="bottom", fontsize=9)
    axes.set_ylabel(f"cost of {len(found['hours'])} hours")


def _sale(axes: Axes, found: Record) -> None:
    sale = found["sale"]
    if not sale:
        axes.set_visible(False)
        return
    for name, colour in (("planned", P99), ("reactive", BAD)):
        begins, values = sale[f"{name}_over_time"]
        axes.plot(begins, values, color=colour, label=f"{name}, each 10 s")
    axes.axhline(Slo.parse(found["slo"]).ms, color="#555555", ls=":")
    axes.axvline(sale["arrival_s"] + sale["before_s"], color=PUBLIC, lw=1, label="ordered instances arrive")
    axes.set_yscale("log")
    axes.set_xlabel(f"seconds; sale of {sale['hour']} begins after {sale['before_s']:g}")
    axes.set_ylabel("milliseconds")
    axes.legend(frameon=False, fontsize=8)
