"""The load generator beside Locust: a load on one server, from a process of its own, so that its cost is told apart.

Run as `python -m loadtests.load`; a `Load` as JSON comes in, a `Sample` goes out.

A closed loop has so many clients, each of which searches again when it has its answer. Its window opens when every
client has had an answer and closes with a whole round of answers, at least a hundred of them where the server gives so
many in two and a half minutes. An open loop sends at the arrivals of a Poisson
process whatever the server does, and counts a search's latency from the moment it was due (no coordinated omission).
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp
import numpy as np

from loadtests.callers import Caller, caller
from loadtests.program import reason
from loadtests.usage import cpu_seconds, resident_bytes
from shelfbridge.errors import ShelfbridgeError

LEAST = 100
"""Searches that a closed loop waits for: fewer have no 99th percentile."""
LONGEST_S = 150.0
"""But no longer than this."""
KINDS = 5
"""Kinds of errors that are told apart."""
FAILURES = (ShelfbridgeError, aiohttp.ClientError, TimeoutError, OSError)


@dataclass(frozen=True)
class Load:
    """What to do: `clients` > 0 is a closed loop, `rate` > 0 an open one, neither asks for the answers themselves.

    pid: root of the server's process tree. rate: searches per second. searches: a closed loop ends after so many, if
    not by time. warmup: seconds whose searches are not counted.
    """

    caller: dict[str, Any]
    pid: int
    queries: list[str]
    k: int = 10
    clients: int = 0
    rate: float = 0.0
    seconds: float = 30.0
    searches: int = 1_000_000
    warmup: float = 1.0
    seed: int = 0


@dataclass
class Sample:
    """What was seen in the window.

    asked: queries taken, those outside the window included. sent_per_second: of an open loop.
    """

    latencies_ms: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    server_cpu_s: float = 0.0
    client_cpu_s: float = 0.0
    resident_mb: float = 0.0
    asked: int = 0
    sent_per_second: float = 0.0
    answers: list[list[str]] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Number of searches that failed."""
        return sum(self.errors.values())

    def percentile(self, percent: float) -> float:
        """Return a percentile of the latencies, milliseconds."""
        return float(np.percentile(self.latencies_ms, percent))


class Window:
    """The part of a load that counts."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.sample = Sample()
        self.errors: Counter[str] = Counter()
        self.begun = self.ended = 0.0

    def open(self) -> None:
        """Count from now on."""
        self._cpu = self._costs()
        self.begun = time.perf_counter()

    def close(self) -> None:
        """Count no more."""
        if self.ended or not self.begun:
            return
        self.ended = time.perf_counter()
        server, client = (after - before for before, after in zip(self._cpu, self._costs(), strict=True))
        self.sample.seconds = self.ended - self.begun
        self.sample.server_cpu_s, self.sample.client_cpu_s = server, client
        self.sample.resident_mb = resident_bytes(self.pid) / 2**20

    def count(self, since: float, error: BaseException | None) -> None:
        """One search that was due at `since` has ended."""
        if not self.begun or self.ended:
            return
        if error is None:
            self.sample.latencies_ms.append((time.perf_counter() - since) * 1e3)
        else:
            self.errors[f"{type(error).__name__}: {reason(error)}"[:200]] += 1

    @property
    def counted(self) -> int:
        """Searches so far, failed ones included."""
        return len(self.sample.latencies_ms) + self.errors.total()

    def whole(self, load: Load) -> bool:
        """Whether a closed loop has gone on long enough, and each client has had as many answers as the others.

        A server that batches answers all clients at a time: cut anywhere else, a window would hold a burst too few.
        """
        if not self.counted or self.counted % load.clients:
            return False
        seconds = time.perf_counter() - self.begun
        return seconds > load.seconds and (self.counted >= LEAST or seconds > LONGEST_S)

    def result(self) -> Sample:
        """All that was counted; of errors the most frequent ones, and the others together."""
        self.close()
        self.sample.errors = dict(self.errors.most_common(KINDS))
        if others := self.errors.total() - self.sample.failed:
            self.sample.errors["others"] = others
        return self.sample

    def _costs(self) -> tuple[float, float]:
        return sum(cpu_seconds(self.pid).values()), time.process_time()


async def closed(search: Caller, load: Load) -> Sample:
    """A closed loop of `load.clients`."""
    window, waiting = Window(load.pid), iter(load.queries)
    unanswered = set(range(load.clients))
    start = time.perf_counter()

    async def client(number: int) -> None:
        for query in waiting:
            window.sample.asked += 1
            since = time.perf_counter()
            window.count(since, await attempt(search, query, load.k))
            unanswered.discard(number)
            if window.begun and (window.counted >= load.searches or window.whole(load)):
                window.close()
            if window.ended:
                return
            if not (window.begun or unanswered) and time.perf_counter() > start + load.warmup:
                window.open()

    await asyncio.gather(*map(client, range(load.clients)))
    return window.result()


async def opened(search: Caller, load: Load) -> Sample:
    """An open loop; the window closes when the last search that was due in it is answered."""
    window, sent, counts = Window(load.pid), [], 0
    start = time.perf_counter()

    async def one(query: str, due: float, counted: bool) -> None:
        error = await attempt(search, query, load.k)
        if counted:
            window.count(due, error)

    for query, arrival in zip(load.queries, arrivals(load), strict=False):
        await asyncio.sleep(max(0.0, start + arrival - time.perf_counter()))
        if not window.begun and arrival > load.warmup:
            window.open()
        counts += bool(window.begun)
        sent.append(asyncio.create_task(one(query, start + arrival, bool(window.begun))))
    await asyncio.gather(*sent)
    window.sample.asked, window.sample.sent_per_second = len(sent), counts / load.seconds
    return window.result()


def arrivals(load: Load) -> Iterator[float]:
    """Seconds after the start at which searches are due: a Poisson process, for warm-up and window."""
    random = np.random.default_rng(load.seed)
    due = 0.0
    while (due := due + random.exponential(1 / load.rate)) < load.warmup + load.seconds:
        yield due


async def attempt(search: Caller, query: str, k: int) -> BaseException | None:
    """Why a search failed, if it did."""
    try:
        await search.search(query, k)
    except FAILURES as error:
        return error
    return None


async def answered(search: Caller, load: Load) -> Sample:
    """The answers, one search after the other; a failed one has none."""
    window = Window(load.pid)
    window.open()
    for query in load.queries:
        found: list[str] = []
        try:
            found = await search.search(query, load.k)
        except FAILURES as error:
            window.count(0.0, error)
        window.sample.answers.append(found)
    return window.result()


async def run(load: Load) -> Sample:
    """Do what is asked."""
    async with caller(load.caller) as search:
        if load.clients:
            return await closed(search, load)
        return await (opened if load.rate else answered)(search, load)


def main() -> None:
    """JSON in, JSON out."""
    print(json.dumps(asdict(asyncio.run(run(Load(**json.load(sys.stdin)))))))


if __name__ == "__main__":
    main()
