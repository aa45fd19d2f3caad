"""A plan as people look at it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.hybrid.plots import BAD, P99, PRIVATE, PUBLIC
from loadtests.plan.fleet import ALWAYS_PRIVATE
from loadtests.plan.search import Plan
from loadtests.slo import Slo
from shelfbridge.measure.report import Cell, Table

Record = Mapping[str, Any]
COLOURS = {"private": PRIVATE, "public": PUBLIC, "hybrid": P99}


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
    (instances, costs), (promise, sale) = figure.subplots(2, 2)
    hours, limit = pd.json_normalize(found["hours"]), Slo.parse(found["slo"]).ms
    every = max(1, math.ceil(len(hours) / 12))
    for axes in (instances, promise):
        axes.set_xticks(hours.index[::every], hours["hour.name"][::every], rotation=45, fontsize=8)
    private, public = hours["fleet.private"], hours["fleet.public"]
    instances.bar(hours.index, private, color=PRIVATE, label="private instances")
    instances.bar(hours.index, public, bottom=private, color=PUBLIC, label="public instances")
    instances.set_ylabel("instances")
    rates = instances.twinx()
    rates.plot(hours["hour.rate"], color="#333333", lw=1.2)
    rates.plot(hours["hour.peak"], color="#333333", lw=1, ls=":")
    rates.set_ylabel("requests a second; dotted: peak")
    promise.plot(hours.predicted, color=P99, marker="o", ms=3, label="predicted, at the peak")
    promise.axhline(limit, color="#555555", ls=":", label=f"promised: {found['slo']}")
    promise.set_ylim(0, None)
    plans = pd.DataFrame(found["strategies"]).T
    bars = costs.bar(plans.index, plans.cost.fillna(0), color=[COLOURS[name] for name in plans.index])
    costs.bar_label(bars, ["promise cannot be kept" if pd.isna(cost) else f"{cost:,.2f}" for cost in plans.cost])
    costs.set_ylabel(f"cost of {len(hours)} hours")
    _sale(sale, found["sale"], limit)
    for axes in (promise, sale):
        axes.set_ylabel("milliseconds")
    for axes in (instances, promise, *([sale] if found["sale"] else [])):
        axes.legend(frameon=False, fontsize=8)


def _sale(axes: Axes, sale: Record | None, limit: float) -> None:
    if not sale:
        axes.set_visible(False)
        return
    for name, colour in (("planned", P99), ("reactive", BAD)):
        axes.plot(*sale[f"{name}_over_time"], color=colour, label=f"{name}, each 10 s")
    axes.axhline(limit, color="#555555", ls=":")
    axes.axvline(sale["arrival_s"] + sale["before_s"], color=PUBLIC, lw=1, label="ordered instances arrive")
    axes.set_yscale("log")
    axes.set_xlabel(f"seconds; sale of {sale['hour']} begins after {sale['before_s']:g}")
