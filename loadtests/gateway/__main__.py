"""What the gateway adds to a search.

    python -m loadtests.gateway --topology deploy/topologies/loadtest.toml --catalogue FILE --judgments FILE --out DIR

One caller, one search at a time. Each query goes by every way before the next one, in an order drawn anew, so that what
else the machine does meets all ways alike:

{ways}

What is added is a percentile's difference to the direct way. Its interval is bootstrapped over blocks of queries, as a
machine is slow for a while and not for one search. No server keeps answers. On a busy machine the p99 is the machine's:
run it when nothing else runs.
Writes gateway.json, gateway.md and gateway.png.
"""

import argparse
import itertools
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from build.progress import progress
from deploy.hybrid import load
from loadtests.gateway.ways import DIRECT, GATEWAY, WAYS, Times, opened, taken
from loadtests.machine import machine
from loadtests.program import command_line, count, ending
from loadtests.serving import queries_of
from loadtests.timing import percentiles
from shelfbridge.errors import DataError
from shelfbridge.measure.intervals import BLOCK, Interval, percentile_difference
from shelfbridge.measure.report import Cell, Report, Table, markdown

FEWEST = 50 * BLOCK
WARM_UP = 200
"""Queries before those that count."""
DRAWN = np.concatenate([np.arange(1, 99), np.arange(99, 99.95, 0.1)])
"""Percentiles of the curves."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    ways = "\n".join(f"    {name:20}{about}" for name, about in WAYS.items())
    made = command_line("gateway", (__doc__ or "").format(ways=ways))
    made.add_argument("--topology", type=Path, required=True, help="such as deploy/topologies/loadtest.toml")
    made.add_argument("--catalogue", type=Path, required=True, help="what its release was built from")
    made.add_argument("--judgments", type=Path, required=True, help="their queries are searched")
    made.add_argument("--out", type=Path, required=True, help="folder of the report")
    made.add_argument("--queries", type=count, default=5000, help="by every way (default: %(default)s)")
    return made


def summary(times: Mapping[str, Times]) -> dict[str, Any]:
    """Percentiles of each way, and what it adds to the direct one."""
    found: dict[str, Any] = {name: percentiles(values, 50, 99) for name, values in times.items()}
    for name in times.keys() - {DIRECT}:
        found[name]["added"] = {
            f"p{percent}": asdict(percentile_difference(times[DIRECT], times[name], percent)) for percent in (50, 99)
        }
    return found


def text(record: Mapping[str, Any]) -> str:
    """Return the record as Markdown."""
    machine, added = record["machine"], record["ways"][GATEWAY]["added"]

    def more(percentile: str) -> Cell:
        return lambda way: f"{Interval(**way['added'][percentile]):+.2f}" if "added" in way else ""

    columns: dict[str, Cell] = {
        "way": lambda way: f"{way['name']}: {WAYS[way['name']]}",
        "p50, ms": "{p50:.2f}",
        "p99, ms": "{p99:.2f}",
        f"p50 more than {DIRECT}": more("p50"),
        f"p99 more than {DIRECT}": more("p99"),
    }
    return markdown(
        [
            f"The gateway adds **{added['p50']['value']:+.2f} ms** at p50 and **{added['p99']['value']:+.2f} ms** at "
            f"p99 to a search that one caller sends alone ({machine['processor']}, {machine['cores']} cores; "
            f"{record['queries']:,} queries, each by every way in turn; 95 % intervals of a paired block bootstrap).",
            Table.of(columns, [{"name": name, **way} for name, way in record["ways"].items()]),
        ]
    )


def draw(figure: Figure, times: Mapping[str, Times]) -> None:
    """Latency of each way by percentile, and what it is above the direct one's."""
    (whole, more) = figure.subplots(1, 2)
    base = np.percentile(times[DIRECT], DRAWN)
    for name, values in times.items():
        found = np.percentile(values, DRAWN)
        whole.plot(DRAWN / 100, found, label=name)
        more.plot(DRAWN / 100, found - base, label=name)
    for axes, label in ((whole, "ms"), (more, f"ms more than {DIRECT}")):
        axes.set_xscale("logit")
        axes.set_xticks([0.01, 0.1, 0.5, 0.9, 0.99, 0.999], ["1 %", "10 %", "50 %", "90 %", "99 %", "99.9 %"])
        axes.minorticks_off()
        axes.set_xlabel("of searches")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    whole.set_yscale("log")
    whole.legend(frameon=False)


def main() -> None:
    """Measure and report."""
    options = parser().parse_args()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with ending("nothing was written"):
        if options.queries < FEWEST:
            raise DataError(f"{options.queries} queries have no p99; ask for {FEWEST} or more")
        topology = load(options.topology)
        pool = queries_of(topology.private.release, options.catalogue, options.judgments)().pool
        queries = list(itertools.islice(itertools.cycle(pool), options.queries))
        options.out.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=options.out) as folder,
            progress(console) as bar,
            opened(topology, Path(folder) / "security") as ways,
        ):
            taken(ways, queries[:WARM_UP])
            task = bar.add_task("searching", total=len(queries))
            times = taken(ways, queries, advance=partial(bar.advance, task))
        record = {"machine": machine(), "queries": len(queries), "ways": summary(times)}
        drawn = partial(draw, times=times)
        Report("gateway", record, [text(record)], drawn, (11, 4.5)).write(options.out, quiet=False)


if __name__ == "__main__":
    main()
