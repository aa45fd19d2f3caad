"""Latency over load of one instance of each site: what the planner calculates with.

A request's time is taken apart into `service_ms`, for which it occupies a process of its model, `way_ms`, from the
gateway to the site and back, and `other_ms`, in the client and the gateway. The rest, waiting for a process, is for the
planner to predict. Service times are told without the slowdown by what else is in flight, which stands apart
(`slowdown`): a time that is long just when others wait makes a longer tail than one that is long at any moment. Between
the points runs are measured that the curves know nothing of, to hold the planner against: a machine that others share
is not as fast at every hour.
"""

import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from loadtests.hybrid import report
from loadtests.hybrid.cloud import Cloud, Mode
from loadtests.hybrid.contention import in_flight, slowdown, unhindered
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
    loads: dict[str, list[Load]] = {site: [] for site in SITES}
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
                load = _load(driven, site, processes, plan.scenario.seconds - WARM_UP_S)
                if load.count >= LEAST:
                    loads[site].append(load)
            sizes += [line.bytes for line in driven.lines.values() if line.site == "public"]
            shutil.rmtree(plan.folder)
    record = {
        "machine": machine(),
        "wan": cloud.hybrid.wan.words,
        "bytes_per_answer": float(np.mean(sizes)),
        "mix": mix,
        "restricted": [kind for kind in RESTRICTED if kind in mix],
        "sites": {site: _site(loads[site], getattr(cloud.topology, site).processes) for site in SITES},
    }
    Report("curves", record, [_text(record)], partial(_draw, record=record), (7, 4)).write(folder, quiet=False)
    return record


@dataclass(frozen=True)
class Sample:
    """The answers of one kind at one load of a site, milliseconds [N]; `met`: how many others were in flight.

    service: of those it is known of [M]; met: theirs [M]. way: of those that found a process free.
    """

    service: NDArray[np.float64]
    met: NDArray[np.intp]
    way: NDArray[np.float64]
    before: NDArray[np.float64]
    took: NDArray[np.float64]


@dataclass(frozen=True)
class Load:
    """One load on one site."""

    rate: float
    kinds: dict[str, Sample]

    @property
    def count(self) -> int:
        """Number of answers."""
        return sum(len(sample.took) for sample in self.kinds.values())


def _load(driven: Driven, site: str, processes: int, seconds: float) -> Load:
    """One load on one site: the answers that began after the warm-up."""
    start, answers = driven.answers()
    here = [answer for answer in answers if answer.site == site and answer.parts]
    met = in_flight([answer.row.time for answer in here], [answer.row.ms for answer in here])
    by_kind: dict[str, list[tuple[Answer, int]]] = defaultdict(list)
    for answer, others in zip(here, met.tolist(), strict=True):
        if answer.row.time > start + WARM_UP_S:
            by_kind[answer.row.kind].append((answer, others))
    kinds = {kind: _sample(of, driven.occupied_ms[site][kind], processes) for kind, of in sorted(by_kind.items())}
    return Load(sum(map(len, by_kind.values())) / seconds, kinds)


def _sample(found: Sequence[tuple[Answer, int]], occupied_ms: float, processes: int) -> Sample:
    """One kind of request.

    A process is occupied for the steps and for what Triton does around them; the latter is known as a mean. Of a
    request without steps, all that lies beyond the gateway is taken for service. The way is that of requests which
    found a process free.
    """
    answers, met = [answer for answer, _ in found], np.array([others for _, others in found], np.intp)
    steps = np.array([sum(ms for part, ms in answer.parts.items() if part not in OUTSIDE) for answer in answers])
    beyond = np.array([answer.parts["beyond"] for answer in answers])
    floor = float(np.quantile(beyond, FLOOR))
    around = min(floor, max(0.0, occupied_ms - float(steps.mean())))
    took = np.array([answer.row.ms for answer in answers])
    alone = in_flight([answer.row.time for answer in answers], took) < processes
    alone |= not alone.any()
    stepped = bool(steps.any())
    return Sample(
        service=steps + around if stepped else beyond[alone],
        met=met if stepped else met[alone],
        way=np.maximum(0.0, beyond[alone] - around) if stepped else np.zeros(1),
        before=np.array([answer.parts["client"] + answer.parts["gateway"] for answer in answers]),
        took=took,
    )


def _site(loads: Sequence[Load], processes: int) -> dict[str, Any]:
    """All loads of a site: distributions without the slowdown by what is in flight, and that slowdown."""
    factors = slowdown([(sample.met, sample.service) for load in loads for sample in load.kinds.values()])
    points = [
        {"rate": load.rate, "kinds": {kind: _kind(sample, factors) for kind, sample in load.kinds.items()}}
        for load in loads
    ]
    return {"processes": processes, "slowdown": factors, "points": points}


def _kind(sample: Sample, factors: Sequence[float]) -> dict[str, Any]:
    return {
        "count": len(sample.took),
        "service_ms": np.quantile(unhindered(sample.service, sample.met, factors), QUANTILES).round(3).tolist(),
        "way_ms": np.quantile(sample.way, QUANTILES).round(3).tolist(),
        "other_ms": np.quantile(sample.before, QUANTILES).round(3).tolist(),
        "latency_ms": {f"p{percent}": float(np.percentile(sample.took, percent)) for percent in (50, 95, 99)},
    }


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
    slower = [
        f"{site} {', '.join(f'{factor:.2f}' for factor in measured['slowdown'][:8])}"
        for site, measured in record["sites"].items()
    ]
    head = ["site", "answers/s", "kind", "answers", "service ms", "way ms", "other ms", "p50 ms", "p99 ms"]
    about = f"One instance of each site. WAN: {record['wan']}. {record['machine']['cores']} cores for all. "
    about += "Service ms are those of a request that meets no other; times these by 0, 1, 2 … others in flight: "
    about += "; ".join(slower) + "."
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
