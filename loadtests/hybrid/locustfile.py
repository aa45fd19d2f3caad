"""Locust's side of a load; also by hand, and from several machines:

    locust -f loadtests/hybrid/locustfile.py --load load.json --headless --html locust.html
    locust -f loadtests/hybrid/locustfile.py --load load.json --headless --master --expect-workers 2
    locust -f loadtests/hybrid/locustfile.py --load load.json --worker --master-host HOST

A worker keeps its rows until it reports to the master, which writes those of all.
"""

import itertools
import json
import random
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

import gevent
import grpc.experimental.gevent
from locust import LoadTestShape, User, events, task
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtests.hybrid.load import START, Load, Row
from loadtests.hybrid.scenarios import at, visitors
from loadtests.hybrid.traffic import Shop, Visitor, draw
from loadtests.program import read_model, reason
from shelfbridge.client import TLS, SearchClient, ShopperClient
from shelfbridge.errors import DataError, SearchError, SettingsError

LONGEST_WORDS = 300
IN_FLIGHT = 2000
"""Requests of one process: under gevent each that waits for its answer takes a thread of the hub's pool, of 10."""
grpc.experimental.gevent.init_gevent()
gevent.get_hub().threadpool.maxsize = IN_FLIGHT


class Worker:
    """What the visitors of one process share; `file` is that of the process which is no worker."""

    load: Load
    visitor: Visitor
    number = 0
    rows: list[list[Any]]
    file: TextIO | None = None
    counter: "itertools.count[int]"

    def begin(self, environment: Environment, **_: Any) -> None:
        """Connect, and open the file."""
        load, runner = self.load, environment.runner
        self.rows, self.counter = [], itertools.count()
        if isinstance(runner, WorkerRunner):
            self.number = runner.worker_index
        else:
            load.rows.parent.mkdir(parents=True, exist_ok=True)
            self.file = load.rows.open("w", encoding="utf-8")
            print(json.dumps({START: time.time()}), file=self.file, flush=True)
        if isinstance(runner, MasterRunner):
            return
        shop = read_model(Shop, load.shop, DataError, "write it with python -m loadtests.hybrid shop")
        tls = TLS(load.root, load.certificate, load.key) if load.root else None
        options: dict[str, Any] = {
            "tls": tls, "token": load.token, "timeout": load.timeout, "retries": load.retries
        }  # fmt: skip
        search, shopper = SearchClient(load.address, **options), ShopperClient(load.address, **options)
        self.visitor = Visitor(shop, search, shopper)

    def report(self, data: dict[str, Any], **_: Any) -> None:
        """Send the rows since the last time to the master."""
        data["rows"], self.rows = self.rows, []

    def collect(self, data: dict[str, Any], **_: Any) -> None:
        """Write the rows of a worker."""
        if self.file:
            self.file.writelines(json.dumps(row, separators=(",", ":")) + "\n" for row in data["rows"])

    def end(self, **_: Any) -> None:
        """Write what is left."""
        if self.file:
            self.collect({"rows": self.rows})
            self.file.close()


WORKER = Worker()


class Shopper(User):
    """A visitor: one request after the other, with time to think between."""

    def on_start(self) -> None:
        """Enter the shop."""
        self.chance = random.Random(f"{WORKER.load.seed} {WORKER.number} {next(WORKER.counter)}")
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
            steps = dict(WORKER.visitor.ask(kind, request_id, self.chance))
        except SearchError as raised:
            error = raised
        ms = 1000 * (time.perf_counter() - since)
        words = reason(error)[:LONGEST_WORDS] if error else ""
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
    file = Path(vars(environment.parsed_options)["load"])
    WORKER.load = read_model(Load, file, SettingsError, "name a load's JSON file (--load)")


events.init_command_line_parser.add_listener(_arguments)
events.init.add_listener(_read)
events.test_start.add_listener(WORKER.begin)
events.report_to_master.add_listener(WORKER.report)
events.worker_report.add_listener(WORKER.collect)
events.quit.add_listener(WORKER.end)
