"""Latency over load of one instance of each site: what the planner calculates with.

A request's time is taken apart into `service_ms`, for which it occupies a process of its model, `way_ms`, from the
gateway to the site and back, and `other_ms`, in the client and the gateway. The rest, waiting for a process, is for the
planner to predict. Service times are told without the slowdown by what else is in flight, which stands apart
(`slowdown`): a time that is long just when others wait makes a longer tail than one that is long at any moment. Between
the points runs are measured that the curves know nothing of, to hold the planner against: a machine that others share
is not as fast at every hour.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from loadtests.hybrid import report
from loadtests.hybrid.answers import SITES
from loadtests.hybrid.cloud import Cloud, Mode
from loadtests.hybrid.contention import in_flight, slowdown, unhindered
from loadtests.hybrid.measured import verdict
from loadtests.hybrid.plots import PRIVATE, PUBLIC
from loadtests.hybrid.run import Plan, drive, run
from loadtests.hybrid.scenarios import WARM_UP_S, scenario
from loadtests.hybrid.traffic import RESTRICTED
from loadtests.machine import machine
from shelfbridge.measure.report import Cell, Report, Table

QUANTILES = np.linspace(0, 1, 201)
FLOOR = 0.01
"""Quantile of the time beyond the gateway, without the steps, at which hardly anybody waited for a process."""
LEAST = 30
"""Answers that a point must have."""
HELD_OUT_TIMES = 3
"""A held out run's length, in times of a point's: its p99 is to be held against."""
MODES: tuple[Mode, ...] = ("hybrid", "public")
COLUMNS: dict[str, Cell] = {
    "site": "{site}",
    "answers/s": "{rate:.1f}",
    "kind": "{kind}",
    "answers": "{count:,}",
    "service ms": lambda row: f"{np.mean(row['service_ms']):.1f}",
    "way ms": lambda row: f"{np.mean(row['way_ms']):.1f}",
    "other ms": lambda row: f"{np.mean(row['other_ms']):.1f}",
    "p50 ms": "{latency_ms[p50]:.1f}",
    "p99 ms": "{latency_ms[p99]:.1f}",
}


def curves(
    cloud: Cloud,
    plan: Plan,
    tell: Callable[[str], object],
    *,
    rates: Sequence[float],
    held_out: Sequence[float],
    seconds: float,
) -> None:
    """Measure both sites at rising rates, as they answer together, and the public one with all that may burst.

    On one machine they share its caches and the cost of the load, so that each is measured beside the other.

    Args:
        cloud: running.
        plan: of a run; each has a rate and mode of its own, and a folder in the plan's, which gets `curves.json`, `.md`
            and `.png`.
        tell: called with what is under way.
        rates: requests a second, of the whole mix.
        held_out: rates of runs of other requests, of which nothing but the report is kept.
        seconds: of each point.
    """
    processes = {site: getattr(cloud.topology, site).processes for site in SITES}
    points: dict[str, list[tuple[float, pd.DataFrame]]] = {site: [] for site in SITES}
    sizes = []
    drive(cloud, _steady(plan, rates[0], seconds, MODES[0]), tell)
    for rate in sorted({*rates, *held_out}):
        if rate in held_out:
            held = replace(
                _steady(plan, rate, HELD_OUT_TIMES * seconds, "hybrid"),
                folder=plan.folder / f"run_{rate:g}",
                seed=plan.seed + 1,
            )
            record = run(cloud, held, tell)
            report.write(held.folder, {**record, "verdict": verdict(record, ())})
        for mode in MODES if rate in rates else ():
            steady = _steady(plan, rate, seconds, mode)
            driven = drive(cloud, steady, tell)
            for site in SITES if mode == "hybrid" else ("public",):
                found = point(driven.answers, site, driven.start + WARM_UP_S, driven.occupied_ms[site], processes[site])
                if len(found) >= LEAST:
                    points[site].append((len(found) / seconds, found))
            sizes += driven.answers.bytes[driven.answers.site == "public"].to_list()
            shutil.rmtree(steady.folder)
    record = {
        "machine": machine(),
        "wan": cloud.hybrid.wan.words,
        "bytes_per_answer": float(np.mean(sizes)),
        "mix": dict(plan.mix),
        "restricted": [kind for kind in RESTRICTED if kind in plan.mix],
        "sites": {site: curve(points[site], processes[site]) for site in SITES},
    }
    Report("curves", record, _blocks(record), partial(_draw, record=record), (7, 4)).write(plan.folder, quiet=False)


def _steady(plan: Plan, rate: float, seconds: float, mode: Mode) -> Plan:
    return replace(plan, scenario=scenario("steady", rate, seconds), mode=mode, folder=plan.folder / "run")


def point(
    answers: pd.DataFrame, site: str, begin: float, occupied_ms: Mapping[str, float], processes: int
) -> pd.DataFrame:
    """Return the answers of a site to requests that were sent after `begin`, with their parts in milliseconds.

    Columns: `kind`, `ms`, `met` (how many others were in flight), `service_ms`, `way_ms`, `other_ms`.

    A process is occupied for the steps and for what Triton does around them; the latter is known as a mean
    (`occupied_ms`, by kind). Of a request without steps, all that lies beyond the gateway is taken for service. Way,
    and service where it is not known from steps, are those of requests that found one of the `processes` of their kind
    free; NaN of the others.
    """
    here = answers[(answers.site == site) & answers.client.notna()]
    here = here.assign(met=in_flight(here.time, here.ms))
    here = here[here.time > begin]
    kinds = [_parts(of, occupied_ms[kind], processes) for kind, of in here.groupby("kind")]
    return pd.concat(kinds) if kinds else here


def _parts(found: pd.DataFrame, occupied_ms: float, processes: int) -> pd.DataFrame:
    """One kind of request."""
    alone = in_flight(found.time, found.ms) < processes
    alone |= not alone.any()
    around = min(float(found.beyond.quantile(FLOOR)), max(0.0, occupied_ms - float(found.in_steps.mean())))
    stepped = found.in_steps.any()
    return pd.DataFrame(
        {
            "kind": found.kind,
            "ms": found.ms,
            "met": found.met,
            "service_ms": found.in_steps + around if stepped else found.beyond.where(alone),
            "way_ms": (found.beyond - around).clip(lower=0).where(alone) if stepped else 0.0,
            "other_ms": found.client + found.gateway,
        }
    )


def curve(points: Sequence[tuple[float, pd.DataFrame]], processes: int) -> dict[str, Any]:
    """Return a site's curve: distributions without the slowdown by what is in flight, and that slowdown.

    Args:
        points: answers a second and the answers, as `point` has them.
        processes: of the site.
    """
    known = [of.dropna(subset="service_ms") for _, found in points for _, of in found.groupby("kind")]
    factors = slowdown([(of.met.to_numpy(), of.service_ms.to_numpy()) for of in known])
    return {
        "processes": processes,
        "slowdown": factors,
        "points": [
            {"rate": rate, "kinds": {kind: _kind(of, factors) for kind, of in found.groupby("kind")}}
            for rate, found in points
        ],
    }


def _kind(found: pd.DataFrame, factors: Sequence[float]) -> dict[str, Any]:
    alone = found.assign(service_ms=unhindered(found.service_ms.to_numpy(), found.met.to_numpy(), factors))
    return {
        "count": len(found),
        **{part: alone[part].quantile(QUANTILES).round(3).to_list() for part in ("service_ms", "way_ms", "other_ms")},
        "latency_ms": {f"p{percent}": float(np.percentile(found.ms, percent)) for percent in (50, 95, 99)},
    }


def _blocks(record: dict[str, Any]) -> list[str | Table]:
    rows = [
        {"site": site, "rate": point["rate"], "kind": kind, **found}
        for site, measured in record["sites"].items()
        for point in measured["points"]
        for kind, found in point["kinds"].items()
    ]
    slower = [
        f"{site} {', '.join(f'{factor:.2f}' for factor in measured['slowdown'][:8])}"
        for site, measured in record["sites"].items()
    ]
    about = (
        f"One instance of each site. WAN: {record['wan']}. {record['machine']['cores']} cores for all. Service ms are "
        "those of a request that meets no other; times these by 0, 1, 2 … others in flight: "
        f"{'; '.join(slower)}."
    )
    return [about, Table.of(COLUMNS, rows)]


def _draw(figure: Figure, record: dict[str, Any]) -> None:
    """p50 and p99 of searches over the load, by site."""
    axes = figure.subplots()
    for site, colour in (("private", PRIVATE), ("public", PUBLIC)):
        points = [point for point in record["sites"][site]["points"] if "search" in point["kinds"]]
        rates = [point["rate"] for point in points]
        for name, style in (("p50", "--"), ("p99", "-")):
            values = [point["kinds"]["search"]["latency_ms"][name] for point in points]
            axes.plot(rates, values, style, marker="o", color=colour, label=f"{site}, {name}")
    axes.set_yscale("log")
    axes.set_xlabel("answers a second")
    axes.set_ylabel("search, milliseconds")
    axes.legend(frameon=False, fontsize=8)
