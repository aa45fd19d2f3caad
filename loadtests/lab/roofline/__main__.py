"""How much of this machine's arithmetic a search uses, and where the rest of its time goes.

    python -m loadtests.lab.roofline --release out/releases/current --catalogue F --judgments F --out DIR

Measures the peaks of the machine (products of matrices in fp32 and int8 through onnxruntime, copies of memory), counts
the multiply-adds and bytes of each step, and times the same steps bare, in this process. Then it serves the release by
an embedded server of its own and looks at it with one client and with many: the times that answers carry, Triton's
statistics, CPU time by process and, with --profile, the functions it goes to (py-spy).

Overhead is, at concurrency 1, a search's latency beyond its bare arithmetic, the two measured by turns; at saturation,
the CPU time of the server's processes beyond that of the bare arithmetic with a process on every core.

Writes roofline.json, roofline.md and roofline.png.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from build.evaluation.offline import ranker_inputs
from deploy.embedded import EmbeddedServer
from loadtests.lab.roofline import bare, costs, peaks, report
from loadtests.lab.roofline.profile import sampling
from loadtests.lab.roofline.served import SERVER, WARMUP, interleaved, under
from loadtests.machine import CORES, machine
from loadtests.program import add_shop, amount, command_line, count, ending
from loadtests.queries import QueryStream
from loadtests.serving import closed, embedded, most, pid_of, put, queries_of, settings_of
from loadtests.usage import processes
from shelfbridge.errors import PrerequisiteError
from shelfbridge.measure.report import Report

COUNTED = 60
"""Queries whose arithmetic is counted."""
SHOWN = 25
"""Functions of the profile."""


def measure(release: Path, stream: QueryStream, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """The record of a release."""
    with console.status("peaks of the machine"):
        best = [peaks.measured(threads, options.seconds / 4) for threads in (1, CORES)]
    arithmetic = bare.Arithmetic(release)
    work = counted(arithmetic, stream.cold(COUNTED))
    settings = {} if options.steps is None else {"steps": options.steps}
    server = embedded(release, options.out / "server", **settings)
    try:
        with console.status("starting the server"):
            server.up()
        alone = interleaved(server.address, arithmetic, stream.cold(options.searches + WARMUP), console)
        with console.status(f"1 client, then {options.clients}"):
            loads = [under(server, stream, clients, options.seconds) for clients in (1, options.clients)]
        profile = (
            profiled(server, stream, loads[1]["cpu"], options)
            if options.profile
            else {"skipped": "not asked for (--profile)"}
        )
    finally:
        server.down()
    with console.status("bare arithmetic on every core"):
        full_cpu = bare.cpu_ms(release, stream.up_to(most(options.seconds)), CORES, options.seconds)
    steps = {name: against(work[name], alone["arithmetic"][name]["p50"], best[0]) for name in bare.PARTS}
    return {
        "machine": machine(),
        "server": settings_of(server),
        "products": len(arithmetic.retrieval.index.tokens),
        "peaks": [asdict(peak) for peak in best],
        "steps": steps,
        "alone": alone,
        "one_client": loads[0],
        "saturated": {**loads[1], "bare_cpu": full_cpu, "overhead": overhead(loads[1], full_cpu)},
        "places": {"alone": places_alone(alone), "saturated": places_saturated(loads[1], full_cpu)},
        "profile": profile,
    }


def counted(arithmetic: bare.Arithmetic, queries: Sequence[str]) -> dict[str, costs.Cost]:
    """Mean cost of each part of a search over some queries, at their own lengths."""
    traced = [arithmetic.search(query) for query in queries]
    products = len(arithmetic.retrieval.index.tokens)
    asked = [{"input_ids": one.query.input_ids, "attention_mask": one.query.attention_mask} for one in traced]
    return {
        "encoder": costs.graph(arithmetic.graphs["encoder"], asked),
        "index": costs.mean([costs.retrieval(products, len(one.query.embedding), one.found) for one in traced]),
        "ranker": costs.graph(arithmetic.graphs["ranker"], [ranker_inputs(one.query, one.found) for one in traced]),
    }


def against(cost: costs.Cost, ms: float, peak: peaks.Peaks) -> dict[str, float]:
    """A step's time against the least that its multiply-adds, and its bytes, take one thread.

    `of_peak` is the share of the time that the arithmetic would need at its peak; `of_roofline` the share that the
    slower of arithmetic and memory would need (Williams et al., CACM 2009).
    """
    multiply_adds = cost["fp32"] + cost["int8"]
    least = (cost["fp32"] / peak.fp32 + cost["int8"] / peak.int8) / 1e6
    moved = cost["bytes"] / peak.memory / 1e6
    return {
        "multiply_adds": multiply_adds,
        "int8_share": cost["int8"] / max(multiply_adds, 1),
        "bytes": cost["bytes"],
        "ms": ms,
        "rate": multiply_adds / ms / 1e6,
        "of_peak": least / ms,
        "of_roofline": max(least, moved) / ms,
    }


def overhead(load: Mapping[str, Any], bare_cpu: Mapping[str, float]) -> dict[str, float]:
    """The server's CPU time beyond the bare arithmetic's: milliseconds a search, over the arithmetic's, of its own."""
    bare, server = sum(bare_cpu.values()), sum(load["cpu"].values()) - load["cpu"]["client"]
    return {"cpu_ms": server - bare, "over_bare": (server - bare) / bare, "of_server": (server - bare) / server}


def places_alone(alone: dict[str, Any]) -> dict[str, float]:
    """Where the mean search's milliseconds go; what is left of the server's time is hops and queues."""
    parts = {name: figures["mean"] for name, figures in alone["arithmetic"].items()}
    parts |= {name: alone["steps"][name]["mean"] for name in ("preprocess", "postprocess") if name in alone["steps"]}
    served = alone["models"]["search"]["success"]
    parts["hops and queues"] = max(0.0, served - sum(parts.values()))
    parts["gRPC and client"] = max(0.0, alone["served"]["mean"] - sum(parts.values()))
    return parts


def places_saturated(load: Mapping[str, Any], bare_cpu: Mapping[str, float]) -> dict[str, float]:
    """Where a search's CPU milliseconds go under full load."""
    cpu = load["cpu"]
    python = sum(cpu.values()) - cpu["client"] - cpu[SERVER] - sum(bare_cpu.values())
    around = {"Python around the steps": max(0.0, python), "tritonserver": cpu[SERVER], "client": cpu["client"]}
    return {**bare_cpu, **around}


def profiled(
    server: EmbeddedServer, stream: QueryStream, cpu: Mapping[str, float], options: argparse.Namespace
) -> dict[str, Any]:
    """CPU time by function under the same load again, which sampling slows; or why it cannot be had."""
    python = {process.pid: part for process, part in processes(pid_of(server)).items() if part in cpu}
    python.pop(pid_of(server))
    try:
        with sampling(python, options.seconds) as shares:
            put(closed(server, options.clients, options.seconds), stream, most(options.seconds))
            timed = [(share * cpu[part], part, function) for (part, function), share in shares().items()]
    except PrerequisiteError as error:
        return {"skipped": str(error)}
    shown = sorted(timed, reverse=True)[:SHOWN]
    rows = [{"part": part, "function": function, "ms": ms} for ms, part, function in shown]
    return {"clients": options.clients, "rows": rows}


def main() -> None:
    """The command line."""
    parser = command_line("lab.roofline", __doc__)
    add_shop(parser)
    parser.add_argument("--searches", type=count, default=2000, help="one at a time (default: %(default)s)")
    parser.add_argument("--clients", type=count, default=16, help="at saturation (default: %(default)s)")
    parser.add_argument("--seconds", type=amount, default=20.0, help="of each load (default: %(default)s)")
    parser.add_argument("--steps", choices=("together", "apart"), help="how to serve (default: as the server does)")
    parser.add_argument("--profile", action="store_true", help="also sample the server's Python functions (py-spy)")
    options = parser.parse_args()
    with ending("nothing was written"):
        stream = queries_of(options.release, options.catalogue, options.judgments)()
        record = measure(options.release, stream, options, Console())
        drawn = partial(report.draw, record=record)
        Report("roofline", record, [report.table(record)], drawn, (13, 4.4)).write(options.out, quiet=False)


if __name__ == "__main__":
    main()
