"""The short matrix: private only, public only and hybrid through a steady hour, a flash sale and a site's failure."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from loadtests.hybrid import page, report
from loadtests.hybrid.cloud import MODES, Cloud, Mode
from loadtests.hybrid.plots import latency, rate
from loadtests.hybrid.run import Plan, run
from loadtests.hybrid.tables import number
from loadtests.hybrid.verdict import verdict
from loadtests.slo import Slo
from shelfbridge.measure.report import Report, Table

CELLS: tuple[tuple[str, Mode], ...] = (
    *((scenario, mode) for scenario in ("steady", "flash_sale", "site_killed") for mode in MODES),
    ("site_frozen", "hybrid"),
)
Record = Mapping[str, Any]


def matrix(
    cloud: Cloud,
    make: Callable[[str, Mode, Path], Plan],
    promises: Sequence[Slo],
    folder: Path,
    tell: Callable[[str], object],
) -> list[dict[str, Any]]:
    """Run every cell and write its report, then that of all: `matrix.json`, `.md`, `.png` and `.html`.

    Args:
        cloud: running.
        make: the plan of a cell.
        promises: held against every cell.
        folder: of the reports.
        tell: called with what is under way.
    """
    records = []
    for scenario, mode in CELLS:
        plan = make(scenario, mode, folder / f"{scenario}_{mode}")
        record = run(cloud, plan, partial(_tell, tell, plan.name))
        record["verdict"] = verdict(record, promises)
        report.write(plan.folder, record)
        records.append(record)
    _write(folder, records)
    return records


def _tell(tell: Callable[[str], object], what: str, seconds: float) -> None:
    tell(f"{what}: {seconds:.0f} s")


def _write(folder: Path, records: Sequence[Record]) -> None:
    tables = [_overview(records), _failures(records)]
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
    blocks: list[str | Table] = ["## Two sites under load", sentence, *tables]
    size = (15, 3.4 * len({record["scenario"] for record in records}))
    Report("matrix", list(records), blocks, partial(_draw, records=records), size).write(folder, quiet=False)
    page.write(
        folder / "matrix.html",
        title="Two sites under load",
        sentence=sentence,
        kept=all(record["verdict"]["kept"] for record in records if record["mode"] == "hybrid"),
        tables=tables,
        pictures=[folder / "matrix.png"],
        links=[(record["name"], f"{record['scenario']}_{record['mode']}/run.html") for record in records],
    )


def _overview(records: Sequence[Record]) -> Table:
    rows = [
        [
            record["scenario"].replace("_", " "),
            record["mode"],
            f"{record['rate']:.0f}",
            *(number(record["latency"]["all"][name]) for name in ("p50", "p99")),
            number(record["latency"].get("search", {}).get("p99")),
            f"{record['burst_share']:.0%}",
            *(f"{record['failed'][who]:,}" for who in ("unrestricted", "restricted")),
            "kept" if record["verdict"]["kept"] else "**missed**",
        ]
        for record in records
    ]
    head = ["scenario", "sites", "requests/s", "p50 ms", "p99 ms", "search p99 ms", "public"]
    return Table([*head, "failed, unrestricted", "failed, restricted", "promises"], rows, "All runs")


def _failures(records: Sequence[Record]) -> Table:
    rows = [
        [
            record["scenario"].replace("_", " "),
            record["mode"],
            record["failure"]["site"],
            number(record["failover"]["worst_ms"]),
            number(record["failover"]["worst_before_ms"]),
            number(record["failover"]["down_s"]),
            number(record["failover"]["failback_s"]),
        ]
        for record in records
        if record["failure"]
    ]
    head = ["scenario", "sites", "failed site", "longest, site down, ms", "longest before, ms", "down s", "failback s"]
    return Table(head, rows, "When a site fails: unrestricted requests")


def _draw(figure: Figure, records: Sequence[Record]) -> None:
    """Requests and latency of every cell; hybrid's extra cells in rows of their own."""
    scenarios = list(dict.fromkeys(record["scenario"] for record in records))
    parts = figure.subplots(2 * len(scenarios), len(MODES), sharey="row", squeeze=False)
    for axes in parts.flat:
        axes.set_visible(False)
    for record in records:
        row, column = 2 * scenarios.index(record["scenario"]), MODES.index(record["mode"])
        upper, lower = parts[row][column], parts[row + 1][column]
        for axes, show in ((upper, rate), (lower, latency)):
            axes.set_visible(True)
            show(axes, record)
            axes.get_legend().set_visible(record is records[0])
        upper.set_title(record["name"].replace("_", " "), fontsize=10)
