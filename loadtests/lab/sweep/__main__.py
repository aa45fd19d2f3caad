"""Which settings serve a release best on this machine: each tried in turn, on the real server, under load.

    python -m loadtests.lab.sweep --release out/releases/current --catalogue F --judgments F --out DIR [--minutes 20]

A setting is a change of the models' configs or a flag of the server. Starting from what the release and the server
have, each setting is varied alone; at the end the changes that gained more than the noise are tried together. All
variants take turns in short rounds, so that none has the better half of an hour, and each is measured with 1, 4 and 16
clients in a closed loop of queries that do not repeat (--warm: that repeat as a shop's do, for the caches).

Writes sweep.json, sweep.md and sweep.png (p99 against searches/s, Pareto front marked), and prints what to choose. What
sweep.json holds already is not measured again, so a sweep can be stopped, boxed in time (--minutes) and gone on with.

NVIDIA's Model Analyzer does this job for servers that it starts itself. It is not used: of an ensemble it searches
instance counts and batch sizes alone (Quick Search; it refuses other sweeps there), it knows neither a server that runs
the steps in one process nor a config per target, and its load generator, perf_analyzer, is on PyPI as a placeholder.
"""

import argparse
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from build.progress import progress
from deploy.embedded import EmbeddedServer
from loadtests.lab.sweep import report
from loadtests.lab.sweep.record import CLIENTS, Point, Sweep, choice, combined, summaries
from loadtests.lab.sweep.variants import AXES, Variant, grid, variant_of
from loadtests.load import Sample
from loadtests.machine import machine
from loadtests.program import add_shop, amount, command_line, count, ending
from loadtests.queries import QueryStream
from loadtests.serving import closed, embedded, generate, most, put, queries_of, settings_of
from shelfbridge.errors import DataError, ShelfbridgeError
from shelfbridge.measure.report import Report
from shelfbridge.release import read_manifest


def measured(variant: Variant, stream: QueryStream, options: argparse.Namespace) -> list[Point]:
    """One round of a variant: a server is started, loaded by each count of clients, and ended.

    Raises:
        ShelfbridgeError: it cannot be served so, or did not answer.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out, prefix=".serving-") as folder:
        made = variant_of(options.release, variant, Path(folder) / "release")
        run_dir = options.out / "servers" / re.sub("[^a-z0-9_.]+", "-", variant.name)
        with embedded(made, run_dir, **variant.settings()) as server:
            _sample(server, stream, CLIENTS[-1], 1.0, options.warm)
            return [_point(server, stream, clients, options) for clients in CLIENTS]


def _point(server: EmbeddedServer, stream: QueryStream, clients: int, options: argparse.Namespace) -> Point:
    sample = _sample(server, stream, clients, options.seconds, options.warm)
    answered = len(sample.latencies_ms)
    return {
        "per_second": answered / sample.seconds,
        "p50": sample.percentile(50),
        "p99": sample.percentile(99),
        "server_cpu_ms": sample.server_cpu_s / answered * 1e3,
        "client_cpu_ms": sample.client_cpu_s / answered * 1e3,
        "resident_mb": sample.resident_mb,
        "errors": float(sample.failed),
    }


def _sample(server: EmbeddedServer, stream: QueryStream, clients: int, seconds: float, warm: bool) -> Sample:
    load = closed(server, clients, seconds)
    if warm:
        return generate(replace(load, queries=stream.zipf(most(seconds), seed=clients)))
    return put(load, stream, most(seconds))


def run(
    sweep: Sweep,
    variants: Sequence[Variant],
    queries: Callable[[], QueryStream],
    options: argparse.Namespace,
    end: float,
) -> bool:
    """Measure what is missing until `end` (monotonic seconds). False if time ran out before all was measured."""
    console = Console(stderr=True)
    with progress(console) as bar:
        task = bar.add_task("sweep", total=len(variants) * options.rounds)
        for variant in sweep.missing(variants, options.rounds):
            if time.monotonic() >= end:
                return False
            bar.update(task, description=variant.name)
            try:
                sweep.add(variant, measured(variant, queries(), options))
            except ShelfbridgeError as error:
                sweep.add(variant, None, str(error))
                console.print(f"{variant.name}: {error}", highlight=False)
            bar.update(task, completed=sum(len(seen["rounds"]) for seen in sweep.record["variants"].values()))
    return True


def main() -> None:
    """The command line."""
    parser = command_line("lab.sweep", __doc__)
    add_shop(parser)
    parser.add_argument("--steps", choices=("together", "apart"), help="only this way of running them")
    parser.add_argument("--rounds", type=count, default=3, help="measurements of each variant (default: %(default)s)")
    parser.add_argument("--seconds", type=amount, default=4.0, help="of each load (default: %(default)s)")
    parser.add_argument("--minutes", type=amount, default=60.0, help="end by then; go on later (default: %(default)s)")
    parser.add_argument("--warm", action="store_true", help="queries repeat by Zipf's law, and caches are varied too")
    options = parser.parse_args()
    ways = [options.steps] if options.steps else list(AXES)
    end = time.monotonic() + options.minutes * 60
    with ending("stopped; the same command goes on where this one ended"):
        about = {
            "machine": machine(),
            "server": settings_of(embedded(options.release, options.out / "servers")),
            "made_from": read_manifest(options.release).get("made_from"),
            "seconds": options.seconds,
            "warm": options.warm,
        }
        sweep = Sweep.open(options.out / "sweep.json", about)
        queries = queries_of(options.release, options.catalogue, options.judgments)
        whole = run(sweep, grid(ways, options.warm), queries, options, end)
        if whole and (together := combined(summaries(sweep.record))):
            whole = run(sweep, [together], queries, options, end)
        rows = summaries(sweep.record)
        if not rows:
            raise DataError("no variant was measured; give more --minutes, or see sweep.json for why")
        chosen = choice(rows)
        drawn = partial(report.draw, record=sweep.record, rows=rows, chosen=chosen)
        size, text = (5 * len(CLIENTS), 4.2), report.table(sweep.record, rows, chosen)
        Report("sweep", sweep.record, [text], drawn, size).write(options.out, quiet=False)
    print(f"choose: {chosen}" + ("" if whole else " (so far: time ran out; the same command goes on)"))


if __name__ == "__main__":
    main()
