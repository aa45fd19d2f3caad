"""The plan's hardest moment: a sale that begins within seconds, while new instances take minutes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from loadtests.hybrid.scenarios import Stage
from loadtests.plan.curves import Curves
from loadtests.plan.fleet import Fleet
from loadtests.plan.search import Cell, Planner
from loadtests.plan.simulate import Outcome, simulate
from loadtests.slo import Slo

BEFORE_S, SURGE_S, SPAN_S = 30.0, 5.0, 10.0
AFTER_ARRIVAL_S = 60.0


@dataclass(frozen=True)
class Sale:
    """What shoppers see of it, planned for and not."""

    hour: str
    rate: float
    peak: float
    before_s: float
    surge_s: float
    arrival_s: float
    planned: float
    """The promised percentile from the begin of the sale until new instances would arrive, milliseconds."""
    reactive: float
    """The same with instances for the rate alone, and those that are missing ordered when the sale begins."""
    planned_refused: float
    """Share of requests that found a site full."""
    reactive_refused: float
    planned_over_time: tuple[list[float], list[float]]
    reactive_over_time: tuple[list[float], list[float]]


def hardest(cells: Sequence[Cell]) -> Cell | None:
    """The hour whose peak is highest above its rate; None where no hour has one."""
    cell = max(cells, key=lambda each: each.hour.peak / each.hour.rate)
    return cell if cell.hour.peak > cell.hour.rate else None


def sale(planner: Planner, cell: Cell) -> Sale:
    """Simulate an hour's peak, with the plan's instances and with those for the rate alone."""
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
    planned, unplanned = (_run(planner.curves, fleet, stages, hour.restricted) for fleet in (cell.fleet, reactive))
    return Sale(
        hour.name,
        hour.rate,
        hour.peak,
        BEFORE_S,
        SURGE_S,
        arrival,
        _until(planned, BEFORE_S + arrival, planner.slo),
        _until(unplanned, BEFORE_S + arrival, planner.slo),
        _refused(planned),
        _refused(unplanned),
        _spans(planned, planner.slo),
        _spans(unplanned, planner.slo),
    )


def _run(curves: Curves, fleet: Fleet, stages: Sequence[Stage], restricted: float | None) -> Outcome:
    return simulate(curves, fleet, stages, restricted=restricted, patient=True)


def _until(outcome: Outcome, end: float, slo: Slo) -> float:
    return outcome.percentile(float(slo.percentile[1:]), slo.kind, begin=BEFORE_S, end=end, answered=True)


def _spans(outcome: Outcome, slo: Slo) -> tuple[list[float], list[float]]:
    begins, values = outcome.over_time(float(slo.percentile[1:]), SPAN_S, slo.kind)
    return begins.tolist(), values.tolist()


def _refused(outcome: Outcome) -> float:
    return outcome.refused / max(1, outcome.refused + len(outcome.took))
