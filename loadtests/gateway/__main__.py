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
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from build.progress import progress
from deploy.hybrid import load
from loadtests.gateway import report
from loadtests.gateway.turns import Times, taken
from loadtests.gateway.ways import DIRECT, WAYS, opened
from loadtests.machine import machine
from loadtests.program import command_line, count, ending
from loadtests.serving import queries_of
from shelfbridge.errors import DataError
from shelfbridge.measure.intervals import BLOCK, percentile_difference
from shelfbridge.measure.report import Report

FEWEST = 50 * BLOCK
WARM_UP = 200
"""Queries before those that count."""


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


def summary(times: dict[str, Times]) -> dict[str, Any]:
    """Percentiles of each way, and what it adds to the direct one."""
    shown = {"p50": 50.0, "p99": 99.0}
    found: dict[str, Any] = {
        name: {label: float(np.percentile(values, percentile)) for label, percentile in shown.items()}
        for name, values in times.items()
    }
    for name in set(times) - {DIRECT}:
        found[name]["added"] = {
            label: asdict(percentile_difference(times[DIRECT], times[name], percentile))
            for label, percentile in shown.items()
        }
    return found


def main() -> None:
    """Measure and report."""
    options = parser().parse_args()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with ending("stopped; nothing was written"):
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
        text = report.text(record)
        Report("gateway", record, [text], partial(report.draw, times=times), (11, 4.5)).write(options.out, quiet=False)


if __name__ == "__main__":
    main()
