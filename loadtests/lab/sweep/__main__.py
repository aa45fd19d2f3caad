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
import shutil
import tempfile
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from build.progress import progress
from build.release.publish import hard_link
from loadtests.lab.sweep import report
from loadtests.lab.sweep.record import CLIENTS, Point, Settings, Sweep, choice, combined, name_of, summaries
from loadtests.machine import machine
from loadtests.program import add_shop, amount, command_line, count, ending
from loadtests.queries import QueryStream
from loadtests.serving import closed, embedded, generate, most, put, queries_of, settings_of
from shelfbridge import configs
from shelfbridge.errors import DataError, ShelfbridgeError
from shelfbridge.measure.report import Report
from shelfbridge.release import read_manifest

AXES: dict[str, dict[str, list[Any]]] = tomllib.loads(Path(__file__).with_name("axes.toml").read_text())
CACHES = ("query_cache", "result_cache")
"""What makes no difference where no query repeats."""
INSTANCES = {
    **dict.fromkeys(("preprocess", "retrieve", "postprocess"), "python_instances"),
    **dict.fromkeys(("encoder", "ranker"), "network_instances"),
}
"""The setting that is a model's number of instances."""
FLAGS = {"grpc_pool": "grpc-infer-allocation-pool-size", "copy_threads": "buffer-manager-thread-count"}
"""Triton's flags, by setting."""


def grid(ways: Sequence[str], warm: bool) -> list[Settings]:
    """Each way of running the steps as it is, and with one setting changed; caches only where queries repeat."""
    variants: list[Settings] = []
    for way in ways:
        axes = {axis: values for axis, values in AXES[way].items() if warm or axis not in CACHES}
        variants += [{"steps": way}, *({"steps": way, axis: one} for axis, values in axes.items() for one in values)]
    return variants


def configure(model: str, config: Any, settings: Settings) -> None:
    """Change a model's parsed config, in place."""
    if (instances := settings.get(INSTANCES.get(model, ""))) is not None:
        for group in config.instance_group:
            group.count = instances
    if INSTANCES.get(model) != "network_instances":
        return
    if "threads" in settings:
        config.parameters["intra_op_thread_count"].string_value = str(settings["threads"])
    if "arena" in settings:
        config.parameters["enable_mem_arena"].string_value = str(int(settings["arena"]))
    if "delay_us" in settings:
        # A bounded queue and a delay together lose instances (triton-inference-server/server issue 8870)
        config.dynamic_batching.Clear()
        config.dynamic_batching.max_queue_delay_microseconds = settings["delay_us"]


def copy(release: Path, settings: Settings, folder: Path) -> Path:
    """A copy of a release whose configs have the settings; all else in it is linked to the release's own files.

    Raises:
        ArtefactError: it is no release.
    """
    read_manifest(release)
    shutil.copytree(release.resolve(), folder, copy_function=hard_link)
    for home in sorted(path for path in folder.iterdir() if (path / configs.NAME).is_file()):
        served = home / configs.CPU
        file = served if served.is_file() else home / configs.NAME
        config = configs.read(file)
        configure(home.name, config, settings)
        configs.write(config, file)
    return folder


def of_server(settings: Settings) -> dict[str, Any]:
    """Fields of `EmbeddedSettings`."""
    own = {name: settings[name] for name in ("steps", "processes", *CACHES) if name in settings}
    extra = [f"--{flag}={settings[name]}" for name, flag in FLAGS.items() if name in settings]
    return own | ({"extra": extra} if extra else {})


def measured(settings: Settings, stream: QueryStream, options: argparse.Namespace) -> list[Point]:
    """One round of a variant: a server is started, loaded by each count of clients, and ended.

    Raises:
        ShelfbridgeError: it cannot be served so, or did not answer.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    points = []
    with tempfile.TemporaryDirectory(dir=options.out, prefix=".serving-") as folder:
        made = copy(options.release, settings, Path(folder) / "release")
        run_dir = options.out / "servers" / re.sub("[^a-z0-9_.]+", "-", name_of(settings))
        with embedded(made, run_dir, **of_server(settings)) as server:
            for clients, seconds in ((CLIENTS[-1], 1.0), *((clients, options.seconds) for clients in CLIENTS)):
                load, queries = closed(server, clients, seconds), most(seconds)
                if options.warm:
                    sample = generate(replace(load, queries=stream.zipf(queries, seed=clients)))
                else:
                    sample = put(load, stream, queries)
                answered = len(sample.latencies_ms)
                points.append(
                    {
                        "per_second": answered / sample.seconds,
                        "p50": sample.percentile(50),
                        "p99": sample.percentile(99),
                        "server_cpu_ms": sample.server_cpu_s / answered * 1e3,
                        "client_cpu_ms": sample.client_cpu_s / answered * 1e3,
                        "resident_mb": sample.resident_mb,
                        "errors": float(sample.failed),
                    }
                )
    return points[1:]  # the first only warms up


def run(
    sweep: Sweep,
    variants: Sequence[Settings],
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
            bar.update(task, description=name_of(variant))
            try:
                sweep.add(variant, measured(variant, queries(), options))
            except ShelfbridgeError as error:
                sweep.add(variant, None, str(error))
                console.print(f"{name_of(variant)}: {error}", highlight=False)
            bar.update(task, completed=sum(len(seen["rounds"]) for seen in sweep.record["variants"].values()))
    return True


def main() -> None:
    """The command line."""
    parser = command_line("lab.sweep", __doc__)
    add_shop(parser)
    parser.add_argument("--steps", choices=AXES, help="only this way of running them")
    parser.add_argument("--rounds", type=count, default=3, help="measurements of each variant (default: %(default)s)")
    parser.add_argument("--seconds", type=amount, default=4.0, help="of each load (default: %(default)s)")
    parser.add_argument("--minutes", type=amount, default=60.0, help="end by then; go on later (default: %(default)s)")
    parser.add_argument("--warm", action="store_true", help="queries repeat by Zipf's law, and caches are varied too")
    options = parser.parse_args()
    ways = [options.steps] if options.steps else list(AXES)
    end = time.monotonic() + options.minutes * 60
    with ending("the same command goes on where this one ended"):
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
