"""The served side: latency beyond the bare arithmetic at concurrency 1, and where time goes at any concurrency."""

import itertools
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from tritonclient.grpc import InferenceServerClient

from build.progress import progress
from deploy.embedded import EmbeddedServer
from loadtests.lab.roofline.bare import PARTS, Arithmetic
from loadtests.queries import QueryStream
from loadtests.serving import closed, difference, most, pid_of, put
from loadtests.timing import meanwhile, percentiles
from loadtests.usage import cpu_seconds
from shelfbridge.client import SearchClient
from shelfbridge.errors import SearchError

SERVER = "tritonserver"
"""The part of a server (`loadtests.usage.part`) that is no model."""
WARMUP = 50
PROBES = 20
"""Searches a second that look at the steps' times while the load is on."""
PHASES = ("queue", "compute_input", "compute_infer", "compute_output")
"""Of a request, in Triton's statistics. For a Python model compute_infer holds the copies to and from its process."""


def totals(address: str) -> pd.DataFrame:
    """Triton's statistics since its start, a row a model.

    Columns: requests, executions (a batch is one), and nanoseconds of "success" (all of a request) and of each phase.
    """
    with InferenceServerClient(address) as client:
        answer: Any = client.get_inference_statistics()
    rows = {
        model.name: {
            "requests": model.inference_stats.success.count,
            "executions": model.execution_count,
            **{name: getattr(model.inference_stats, name).ns for name in ("success", *PHASES)},
        }
        for model in answer.model_stats
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def between(before: pd.DataFrame, after: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Milliseconds per request by phase and in all, and requests per execution, of the models that were used."""
    new = after - before.reindex(after.index, fill_value=0)
    new = new[new["requests"] > 0]
    ms = new[["success", *PHASES]].div(new["requests"], axis=0) / 1e6
    batch = new["requests"] / new["executions"].clip(lower=1)
    found: dict[str, dict[str, float]] = ms.assign(requests=new["requests"], batch=batch).to_dict("index")
    return found


def interleaved(address: str, arithmetic: Arithmetic, queries: Sequence[str], console: Console) -> dict[str, Any]:
    """One search at a time, each through the server and as bare arithmetic by turns: both meet the same machine.

    Overhead is the difference of a query's two times: gRPC, scheduling, hops between processes, tokenising, checks,
    and making the answer. The first `WARMUP` queries are not counted.
    """
    served, bare, steps = [], [], []
    with SearchClient(address, timeout=10.0) as client, progress(console) as bar:
        for number, query in enumerate(bar.track(queries, description="one at a time")):
            if number == WARMUP:
                before = totals(address)
            result = client.search(query, k=10)
            seconds = arithmetic.search(query).seconds
            if number >= WARMUP:
                served.append(result.round_trip_ms)
                bare.append(seconds)
                steps.append(dict(result.steps))
    total, parts = np.array(served), np.array(bare) * 1e3
    return {
        "searches": len(served),
        "served": percentiles(total),
        "arithmetic": {name: percentiles(parts[:, at]) for at, name in enumerate(PARTS)},
        "overhead": percentiles(total - parts.sum(1)),
        "steps": {name: percentiles([one[name] for one in steps]) for name in steps[0]},
        "models": between(before, totals(address)),
    }


def under(server: EmbeddedServer, stream: QueryStream, clients: int, seconds: float) -> dict[str, Any]:
    """A server under a closed loop of some clients, looked at from all sides. Milliseconds.

    `cpu` is per answered search, by the server's part and of the "client"; `steps` are means by the answers of a few
    searches a second beside the load, their waits included; `models` are Triton's own figures.

    Raises:
        LoadFailed: it did not answer.
        DataError: the stream has not so many queries left.
    """
    pid, seen = pid_of(server), []
    put(closed(server, clients, 2.0), stream, most(2.0))  # pages and processes warm
    probes = itertools.cycle(stream.cold(int(PROBES * (seconds + 10))))
    with SearchClient(server.address, timeout=30.0) as client:

        def probe() -> None:
            with suppress(SearchError):
                seen.append(dict(client.search(next(probes)).steps))

        with meanwhile(probe, pause=1 / PROBES):
            before, used = totals(server.address), cpu_seconds(pid)
            sample = put(closed(server, clients, seconds), stream, most(seconds))
            models = between(before, totals(server.address))
            cpu = difference(cpu_seconds(pid), used)
    answered, searches = len(sample.latencies_ms), models["search"]["requests"]
    by_part = {part: taken / searches * 1e3 for part, taken in cpu.items() if taken or part == SERVER}
    return {
        "clients": clients,
        "per_second": answered / sample.seconds,
        "latency": percentiles(sample.latencies_ms),
        "errors": sample.failed,
        "cpu": by_part | {"client": sample.client_cpu_s / answered * 1e3},
        "steps": {name: float(np.mean([one[name] for one in seen])) for name in (seen[0] if seen else ())},
        "models": models,
    }
