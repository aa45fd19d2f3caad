"""The served side: latency beyond the bare arithmetic at concurrency 1, and where CPU time goes at any concurrency."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from build.progress import progress
from deploy.embedded import EmbeddedServer
from loadtests.lab.roofline import triton
from loadtests.lab.roofline.bare import PARTS, Arithmetic
from loadtests.queries import QueryStream
from loadtests.serving import closed, difference, most, pid_of, put
from loadtests.usage import cpu_seconds
from shelfbridge.client import SearchClient
from shelfbridge.errors import SearchError

SERVER = "tritonserver"
"""The part of a server (`loadtests.usage.part`) that is no model."""
WARMUP = 50
PROBES = 20
"""Searches a second that look at the steps' times while the load is on."""


def interleaved(address: str, arithmetic: Arithmetic, queries: Sequence[str], console: Console) -> dict[str, Any]:
    """One search at a time, each through the server and as bare arithmetic by turns: both meet the same machine.

    Overhead is the difference of a query's two times: gRPC, scheduling, hops between processes, tokenising, checks,
    and making the answer. The first `WARMUP` queries are not counted.
    """
    served, bare, steps = [], [], []
    with SearchClient(address, timeout=10.0) as client, progress(console) as bar:
        for number, query in enumerate(bar.track(queries, description="one at a time")):
            if number == WARMUP:
                before = triton.totals(address)
            result = client.search(query, k=10)
            seconds = arithmetic.search(query).seconds
            if number >= WARMUP:
                served.append(result.round_trip_ms)
                bare.append(seconds)
                steps.append(list(result.steps.values()))
    total, parts, names = np.array(served), np.array(bare) * 1e3, list(result.steps)
    return {
        "searches": len(served),
        "served": percentiles(total),
        "arithmetic": {name: percentiles(parts[:, at]) for at, name in enumerate(PARTS)},
        "overhead": percentiles(total - parts.sum(1)),
        "steps": {name: percentiles(np.array(steps)[:, at]) for at, name in enumerate(names)},
        "models": triton.between(before, triton.totals(address)),
    }


def percentiles(values: NDArray[np.float64]) -> dict[str, float]:
    """p50, p95, p99 and mean."""
    found = {f"p{p}": round(float(np.percentile(values, p)), 3) for p in (50, 95, 99)}
    return {**found, "mean": round(float(values.mean()), 3)}


@dataclass(frozen=True)
class Under:
    """A server under a closed loop of some clients. Milliseconds; CPU times are per answered search."""

    clients: int
    per_second: float
    latency: dict[str, float]
    errors: int
    cpu: dict[str, float]
    """By the server's part (`loadtests.usage.processes`), and "client"."""
    steps: dict[str, float]
    """Mean of each step by the answers of a few searches a second beside the load, its wait included."""
    models: dict[str, dict[str, float]]
    """Triton's own figures (`loadtests.lab.roofline.triton`)."""

    @property
    def server_cpu(self) -> float:
        """CPU milliseconds per search of all the server's processes."""
        return sum(ms for part, ms in self.cpu.items() if part != "client")


def under(server: EmbeddedServer, stream: QueryStream, clients: int, seconds: float) -> Under:
    """Load a server and look at it from all sides.

    Raises:
        LoadFailed: it did not answer.
        DataError: the stream has not so many queries left.
    """
    pid = pid_of(server)
    put(closed(server, clients, 2.0), stream, most(2.0))  # pages and processes warm
    with _Probe(server.address, stream.cold(int(PROBES * (seconds + 10)))) as probe:
        before, used = triton.totals(server.address), cpu_seconds(pid)
        sample = put(closed(server, clients, seconds), stream, most(seconds))
        models = triton.between(before, triton.totals(server.address))
        cpu = difference(cpu_seconds(pid), used)
    searches = models["search"]["requests"]
    return Under(
        clients,
        len(sample.latencies_ms) / sample.seconds,
        percentiles(np.array(sample.latencies_ms)),
        sum(sample.errors.values()),
        {part: taken / searches * 1e3 for part, taken in cpu.items() if taken or part == SERVER}
        | {"client": sample.client_cpu_s / len(sample.latencies_ms) * 1e3},
        probe.means(),
        models,
    )


class _Probe:
    """A client that searches now and then, for the steps' times; it ends with its context."""

    def __init__(self, address: str, queries: Sequence[str]) -> None:
        self._client = SearchClient(address, timeout=30.0)
        self._queries = queries
        self._seen: list[dict[str, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(1 / PROBES):
            number += 1
            try:
                self._seen.append(dict(self._client.search(self._queries[number % len(self._queries)]).steps))
            except SearchError:
                time.sleep(0.1)

    def means(self) -> dict[str, float]:
        """Mean of each step; nothing where no probe was answered."""
        names = self._seen[0] if self._seen else {}
        return {name: float(np.mean([one[name] for one in self._seen])) for name in names}

    def __enter__(self) -> "_Probe":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()
