"""Locust's side of a load; also by hand, and from several machines:

    locust -f loadtests/hybrid/locustfile.py --load load.json --headless --html locust.html
    locust -f loadtests/hybrid/locustfile.py --load load.json --headless --master --expect-workers 2
    locust -f loadtests/hybrid/locustfile.py --load load.json --worker --master-host HOST

A worker keeps its rows until it reports to the master, which writes those of all.
"""

import itertools
import random
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from uuid import uuid4

import gevent
import grpc.experimental.gevent
from locust import LoadTestShape, User, events, task
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtests.hybrid.load import Load
from loadtests.hybrid.rows import Row, Writer
from loadtests.hybrid.scenarios import at, visitors
from loadtests.hybrid.shop import Shop
from loadtests.hybrid.traffic import Visitor, draw
from shelfbridge.client import TLS, SearchClient, ShopperClient
from shelfbridge.errors import SearchError

LONGEST_WORDS = 300
IN_FLIGHT = 2000
"""Requests of one process: under gevent each that waits for its answer takes a thread of the hub's pool, of 10."""
grpc.experimental.gevent.init_gevent()
gevent.get_hub().threadpool.maxsize = IN_FLIGHT


class Worker:
    """What the visitors of one process share."""

    load: Load
    shop: Shop
    search: SearchClient
    shopper: ShopperClient
    number = 0
    rows: list[list[Any]]
    writer: Writer | None = None
    counter: "itertools.count[int]"

    def begin(self, environment: Environment) -> None:
        """Connect; the process that is not a worker opens the file."""
        load, runner = self.load, environment.runner
        self.rows, self.counter = [], itertools.count()
        if isinstance(runner, WorkerRunner):
            self.number = runner.worker_index
        else:
            self.writer = Writer(load.rows, time.time())
        if isinstance(runner, MasterRunner):
            return
        self.shop = Shop.load(load.shop)
        tls = TLS(load.root, load.certificate, load.key) if load.root else None
        options: dict[str, Any] = {
            "tls": tls, "token": load.token, "timeout": load.timeout, "retries": load.retries
        }  # fmt: skip
        self.search, self.shopper = SearchClient(load.address, **options), ShopperClient(load.address, **options)

    def flush(self) -> list[list[Any]]:
        """The rows since the last time."""
        taken, self.rows = self.rows, []
        return taken


WORKER = Worker()


class Shopper(User):
    """A visitor: one request after the other, with time to think between."""

    def on_start(self) -> None:
        """Enter the shop."""
        self.chance = random.Random(f"{WORKER.load.seed} {WORKER.number} {next(WORKER.counter)}")
        self.visitor = Visitor(WORKER.shop, WORKER.search, WORKER.shopper, self.chance)
        time.sleep(self.wait_time())

    def wait_time(self) -> float:
        """Seconds to think."""
        return self.chance.expovariate(1 / WORKER.load.think)

    @task
    def ask(self) -> None:
        """Make one request."""
        kind, request_id = draw(WORKER.load.mix, self.chance), uuid4().hex
        begun, since, steps = time.time(), time.perf_counter(), {}
        error: SearchError | None = None
        try:
            steps = dict(self.visitor.ask(kind, request_id))
        except SearchError as raised:
            error = raised
        ms = 1000 * (time.perf_counter() - since)
        words = str(error)[:LONGEST_WORDS] if error else ""
        row = Row(begun, kind, ms, request_id, type(error).__name__ if error else "", words, steps)
        WORKER.rows.append(list(row))
        self.environment.events.request.fire(
            request_type="gRPC", name=kind, response_time=ms, response_length=0, exception=error, context={}
        )


class Stages(LoadTestShape):
    """As many visitors as make the rate of the moment."""

    def tick(self) -> tuple[int, float] | None:
        """How many, and how many of them may come or go in a second."""
        now = at(WORKER.load.stages, self.get_run_time())
        if now is None:
            return None
        count = visitors(now[1], WORKER.load.think)
        return count, max(1.0, float(abs(count - self.get_current_user_count())))


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--load", required=True, help="JSON of a load; python -m loadtests.hybrid run writes one")


def _read(environment: Environment, **_: Any) -> None:
    WORKER.load = Load.load(Path(vars(environment.parsed_options)["load"]))


def _begin(environment: Environment, **_: Any) -> None:
    WORKER.begin(environment)


def _report(data: dict[str, Any], **_: Any) -> None:
    data["rows"] = WORKER.flush()


def _collect(data: dict[str, Any], **_: Any) -> None:
    if WORKER.writer:
        WORKER.writer.write(data["rows"])


def _end(**_: Any) -> None:
    if WORKER.writer:
        WORKER.writer.write(WORKER.flush())
        WORKER.writer.close()


events.init_command_line_parser.add_listener(_arguments)
events.init.add_listener(_read)
events.test_start.add_listener(_begin)
events.report_to_master.add_listener(_report)
events.worker_report.add_listener(_collect)
events.quit.add_listener(_end)
