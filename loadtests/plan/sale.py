"""The plan's hardest moment: a sale that begins within seconds, while new instances take minutes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from loadtests.hybrid.scenarios import Stage
from loadtests.plan.fleet import Fleet
from loadtests.plan.search import Cell, Planner
from loadtests.plan.simulate import simulate

BEFORE_S, SURGE_S, SPAN_S = 30.0, 5.0, 10.0
AFTER_ARRIVAL_S = 60.0


def hardest(cells: Sequence[Cell]) -> Cell | None:
    """The hour whose peak is highest above its rate; None where no hour has one."""
    cell = max(cells, key=lambda each: each.hour.peak / each.hour.rate)
    return cell if cell.hour.peak > cell.hour.rate else None


def sale(planner: Planner, cell: Cell) -> dict[str, Any]:
    """Simulate an hour's peak, with the plan's instances (`planned`) and with those for the rate alone (`reactive`).

    Of each it returns the promised percentile from the begin of the sale until the instances that are ordered then
    would arrive, in milliseconds; the share of requests that found a site full (`_refused`); and the percentile span by
    span (`_over_time`).
    """
    hour, arrival = cell.hour, 60 * planner.prices.public.arrival_minutes[1]
    usual = planner.fleet(cell.fleet.strategy, replace(hour, peak=hour.rate), cell.fleet.private)
    small = usual if isinstance(usual, Fleet) else cell.fleet
    missing = max(0, cell.fleet.public - small.public)
    reactive = replace(cell.fleet, public=small.public, arriving=missing, arriving_at=BEFORE_S + arrival)
    stages = [
        Stage.level("before", BEFORE_S, hour.rate),
        Stage("surge", SURGE_S, hour.rate, hour.peak),
        Stage.level("sale", arrival + AFTER_ARRIVAL_S - SURGE_S, hour.peak),
    ]
    found: dict[str, Any] = {
        "hour": hour.name,
        "rate": hour.rate,
        "peak": hour.peak,
        "before_s": BEFORE_S,
        "surge_s": SURGE_S,
        "arrival_s": arrival,
    }
    percent, kind = planner.slo.percent, planner.slo.kind
    for name, fleet in (("planned", cell.fleet), ("reactive", reactive)):
        outcome = simulate(planner.curves, fleet, stages, restricted=hour.restricted, patient=True)
        found[name] = outcome.percentile(percent, kind, begin=BEFORE_S, end=BEFORE_S + arrival, answered=True)
        found[f"{name}_refused"] = outcome.refused / max(1, outcome.refused + len(outcome.took))
        spans = outcome.over_time(percent, SPAN_S, kind)
        found[f"{name}_over_time"] = [spans.index.to_list(), spans.to_list()]
    return found
