"""Latency over load of one instance of each site: what the planner calculates with.

A request's time is taken apart into `service_ms`, for which it occupies a process of its model, `way_ms`, from the
gateway to the site and back, and `other_ms`, in the client and the gateway. The rest, waiting for a process, is for the
planner to predict. Between the points runs are measured that the curves know nothing of, to hold the planner against: a
machine that others share is not as fast at every hour.
"""

import heapq
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from loadtests.hybrid import report
from loadtests.hybrid.cloud import Cloud, Mode
from loadtests.hybrid.joined import SITES, Answer
from loadtests.hybrid.plots import PRIVATE, PUBLIC
from loadtests.hybrid.run import Driven, Plan, drive, run
from loadtests.hybrid.scenarios import WARM_UP_S
from loadtests.hybrid.traffic import RESTRICTED
from loadtests.hybrid.verdict import verdict
from loadtests.machine import machine
from shelfbridge.measure.report import Report, Table

QUANTILES = np.linspace(0, 1, 201)
FLOOR = 0.01
"""Quantile of the time beyond the gateway, without the steps, at which hardly anybody waited for a process."""
LEAST = 30
"""Answers that a point must have."""
MODES: tuple[Mode, ...] = ("hybrid", "public")
OUTSIDE = ("client", "gateway", "beyond")


def curves(
    cloud: Cloud,
    make: Callable[[float, Mode, Path], Plan],
    rates: Sequence[float],
    folder: Path,
    tell: Callable[[str], object],
    *,
    held_out: Mapping[float, Plan],
) -> dict[str, Any]:
    """Measure both sites at rising rates, as they answer together, and the public one with all that may burst.

    On one machine they share its caches and the cost of the load, so that each is measured beside the other.

    Args:
        cloud: running.
        make: the plan of a steady run at a rate, in a mode, in a folder.
        rates: requests a second, of the whole mix.
        folder: of `curves.json`, `.md` and `.png`.
        tell: called with what is under way.
        held_out: steady runs by their rates, of which nothing but the report is kept.
    """
    points: dict[str, list[dict[str, Any]]] = {site: [] for site in SITES}
    sizes: list[int] = []
    mix: dict[Any, float] = {}
    drive(cloud, make(rates[0], MODES[0], folder / "run"), partial(_tell, tell, "warming up"))
    for rate in sorted({*rates, *held_out}):
        if held := held_out.get(rate):
            run_record = run(cloud, held, partial(_tell, tell, f"held out, {rate:g} a second"))
            report.write(held.folder, {**run_record, "verdict": verdict(run_record, ())})
        for mode in MODES if rate in rates else ():
            plan = make(rate, mode, folder / "run")
            mix = dict(plan.mix)
            driven = drive(cloud, plan, partial(_tell, tell, f"{mode}, {rate:g} a second"))
            for site in SITES if mode == "hybrid" else ("public",):
                processes = getattr(cloud.topology, site).processes
                point = _point(driven, site, processes, plan.scenario.seconds - WARM_UP_S)
                if sum(kind["count"] for kind in point["kinds"].values()) >= LEAST:
                    points[site].append(point)
            sizes += [line.bytes for line in driven.lines.values() if line.site == "public"]
            shutil.rmtree(plan.folder)
    record = {
        "machine": machine(),
        "wan": cloud.hybrid.wan.words,
        "bytes_per_answer": float(np.mean(sizes)),
        "mix": mix,
        "restricted": [kind for kind in RESTRICTED if kind in mix],
        "sites": {
            site: {"processes": getattr(cloud.topology, site).processes, "points": points[site]} for site in SITES
        },
    }
    Report("curves", record, [_text(record)], partial(_draw, record=record), (7, 4)).write(folder, quiet=False)
    return record


def _point(driven: Driven, site: str, processes: int, seconds: float) -> dict[str, Any]:
    """One load on one site: the answers that began after the warm-up."""
    start, answers = driven.answers()
    by_kind: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer.site == site and answer.parts and answer.row.time > start + WARM_UP_S:
            by_kind[answer.row.kind].append(answer)
    kinds = {kind: _kind(of, driven.occupied_ms[site][kind], processes) for kind, of in sorted(by_kind.items())}
    return {"rate": sum(map(len, by_kind.values())) / seconds, "kinds": kinds}


def _kind(answers: Sequence[Answer], occupied_ms: float, processes: int) -> dict[str, Any]:
    """Distributions of one kind of request.

    A process is occupied for the steps and for what Triton does around them; the latter is known as a mean. Of a
    request without steps, all that lies beyond the gateway is taken for service. The way is that of requests which
    found a process free.
    """
    steps = np.array([sum(ms for part, ms in answer.parts.items() if part not in OUTSIDE) for answer in answers])
    beyond = np.array([answer.parts["beyond"] for answer in answers])
    floor = float(np.quantile(beyond, FLOOR))
    around = min(floor, max(0.0, occupied_ms - float(steps.mean())))
    alone = np.array(_alone(answers, processes))
    service = steps + around if steps.any() else beyond[alone]
    way = np.maximum(0.0, beyond[alone] - around) if steps.any() else np.zeros(1)
    before = np.array([answer.parts["client"] + answer.parts["gateway"] for answer in answers])
    took = np.array([answer.row.ms for answer in answers])
    return {
        "count": len(answers),
        "service_ms": np.quantile(service, QUANTILES).round(3).tolist(),
        "way_ms": np.quantile(way, QUANTILES).round(3).tolist(),
        "other_ms": np.quantile(before, QUANTILES).round(3).tolist(),
        "latency_ms": {f"p{percent}": float(np.percentile(took, percent)) for percent in (50, 95, 99)},
    }


def _alone(answers: Sequence[Answer], processes: int) -> list[bool]:
    """Whether each found a process of its model free when it was sent; if none did, all count."""
    ends: list[float] = []
    found = {}
    for place in sorted(range(len(answers)), key=lambda each: answers[each].row.time):
        row = answers[place].row
        while ends and ends[0] <= row.time:
            heapq.heappop(ends)
        found[place] = len(ends) < processes
        heapq.heappush(ends, row.time + row.ms / 1000)
    return [found[place] or not any(found.values()) for place in range(len(answers))]


def _text(record: dict[str, Any]) -> str:
    rows = [
        [
            site,
            f"{point['rate']:.1f}",
            kind,
            f"{found['count']:,}",
            f"{np.mean(found['service_ms']):.1f}",
            f"{np.mean(found['way_ms']):.1f}",
            f"{np.mean(found['other_ms']):.1f}",
            *(f"{found['latency_ms'][name]:.1f}" for name in ("p50", "p99")),
        ]
        for site, measured in record["sites"].items()
        for point in measured["points"]
        for kind, found in point["kinds"].items()
    ]
    head = ["site", "answers/s", "kind", "answers", "service ms", "way ms", "other ms", "p50 ms", "p99 ms"]
    about = f"One instance of each site. WAN: {record['wan']}. {record['machine']['cores']} cores for all."
    return "\n".join([about, "", str(Table(head, rows)), ""])


def _draw(figure: Figure, record: dict[str, Any]) -> None:
    """p50 and p99 of searches over the load, by site."""
    axes = figure.subplots()
    for site, colour in (("private", PRIVATE), ("public", PUBLIC)):
        points = [point for point in record["sites"][site]["points"] if "search" in point["kinds"]]
        for name, style in (("p50", "--"), ("p99", "-")):
            values = [point["kinds"]["search"]["latency_ms"][name] for point in points]
            axes.plot(
                [point["rate"] for point in points], values, style, marker="o", color=colour, label=f"{site}, {name}"
            )
    axes.set_yscale("log")
    axes.set_xlabel("answers a second")
    axes.set_ylabel("search, milliseconds")
    axes.legend(frameon=False, fontsize=8)


def _tell(tell: Callable[[str], object], what: str, seconds: float) -> None:
    tell(f"{what}: {seconds:.0f} s")
