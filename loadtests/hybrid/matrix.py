"""The short matrix: private only, public only and hybrid through a steady hour, a flash sale and a site's failure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from loadtests.hybrid import report
from loadtests.hybrid.cloud import MODES, Cloud, Mode
from loadtests.hybrid.measured import verdict
from loadtests.hybrid.plots import latency, rate
from loadtests.hybrid.report import KEPT, figure, number, titled
from loadtests.hybrid.run import Plan, run
from loadtests.hybrid.scenarios import scenario
from loadtests.slo import Slo
from shelfbridge.measure.report import Cell, Report, Table

CELLS: tuple[tuple[str, Mode], ...] = (
    *((name, mode) for name in ("steady", "flash_sale", "site_killed") for mode in MODES),
    ("site_frozen", "hybrid"),
)
Record = Mapping[str, Any]
RUN: dict[str, Cell] = {"scenario": lambda run: run["scenario"].replace("_", " "), "sites": "{mode}"}
OVERVIEW: dict[str, Cell] = {
    **RUN,
    "requests/s": "{rate:.0f}",
    "p50 ms": lambda run: number(run["latency"]["all"]["p50"]),
    "p99 ms": lambda run: number(run["latency"]["all"]["p99"]),
    "search p99 ms": lambda run: number(run["latency"].get("search", {}).get("p99")),
    "public": "{burst_share:.0%}",
    "failed, unrestricted": "{failed[unrestricted]:,}",
    "failed, restricted": "{failed[restricted]:,}",
    "promises": lambda run: KEPT[run["verdict"]["kept"]],
}
FAILURES: dict[str, Cell] = {
    **RUN,
    "failed site": "{failure[site]}",
    "longest, site down, ms": figure("worst_ms"),
    "longest before, ms": figure("worst_before_ms"),
    "down s": figure("down_s"),
    "failback s": figure("failback_s"),
}


def matrix(
    cloud: Cloud, plan: Plan, rate: float, promises: Sequence[Slo], tell: Callable[[str], object]
) -> list[dict[str, Any]]:
    """Run every cell and write its report, then that of all: `matrix.json`, `.md`, `.png` and `.html`.

    Args:
        cloud: running.
        plan: of a run; each cell has another scenario and mode, and a folder in the plan's.
        rate: requests a second before any surge.
        promises: held against every cell.
        tell: called with what is under way.
    """
    records = []
    for name, mode in CELLS:
        folder = plan.folder / f"{name}_{mode}"
        record = run(cloud, replace(plan, scenario=scenario(name, rate), mode=mode, folder=folder), tell)
        record["verdict"] = verdict(record, promises)
        report.write(folder, record)
        records.append(record)
    write(plan.folder, records)
    return records


def write(folder: Path, records: Sequence[Record]) -> None:
    """Write the report of all cells."""
    first = records[0]
    outside = sum(
        count for record in records for kind, count in record["counted"]["public"].items() if kind != "search"
    )
    sentence = (
        f"{sum(record['requests'] for record in records):,} requests; {outside:,} restricted ones at the public site, "
        f"by its own counters. WAN: {first['wan']}. {first['machine']['cores']} cores of "
        f"{first['machine']['processor']} for both sites, gateway and load. Private only: no token lets a search "
        "leave; public only: every search that may leave does; what is restricted stays private in all. The site that "
        "fails is the one that answers first."
    )
    failed = [{**record, **record["failover"]} for record in records if record["failure"]]
    tables = [
        titled("All runs", OVERVIEW, records),
        titled("When a site fails: unrestricted requests", FAILURES, failed),
    ]
    size = (15, 3.4 * len({record["scenario"] for record in records}))
    blocks: list[str | Table] = ["## Two sites under load", sentence, *tables]
    report.publish(
        Report("matrix", list(records), blocks, partial(_draw, records=records), size),
        folder,
        kept=all(record["verdict"]["kept"] for record in records if record["mode"] == "hybrid"),
        links=[(record["name"], f"{record['scenario']}_{record['mode']}/run.html") for record in records],
    )


def _draw(figure: Figure, records: Sequence[Record]) -> None:
    """Requests and latency of every cell; hybrid's extra cells in rows of their own."""
    scenarios = list(dict.fromkeys(record["scenario"] for record in records))
    parts = figure.subplots(2 * len(scenarios), len(MODES), sharey="row", squeeze=False)
    for axes in parts.flat:
        axes.set_visible(False)
    for record in records:
        row, column = 2 * scenarios.index(record["scenario"]), MODES.index(record["mode"])
        for axes, show in ((parts[row][column], rate), (parts[row + 1][column], latency)):
            axes.set_visible(True)
            show(axes, record)
            axes.get_legend().set_visible(record is records[0])
        parts[row][column].set_title(record["name"].replace("_", " "), fontsize=10)
