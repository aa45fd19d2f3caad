"""When a step turns requests away: it has gone on without a pause, and more wait than may."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from shelfbridge import backlog
from shelfbridge.backlog import BLIND_S, BUSY_S, LOOK_S, METRICS, PAUSE_S, QUEUE, Backlog, instances_of


class Metrics(HTTPServer):
    """A server's metrics, as Triton writes them."""

    waiting: dict[str, int]
    looks = 0


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Metrics)
        self.server.looks += 1
        lines = [
            f'nv_inference_pending_request_count{{model="{m}",version="1"}} {n}' for m, n in self.server.waiting.items()
        ]
        self.send_response(200)
        self.end_headers()
        self.wfile.write("\n".join(["# HELP nv_inference_pending_request_count", *lines, ""]).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metrics]:
    server = Metrics(("127.0.0.1", 0), Handler)
    server.waiting = {}
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv(METRICS, f"http://127.0.0.1:{server.server_port}/metrics")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = 1000.0

    def forward(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(backlog.time, "monotonic", lambda: now)
    return forward


def serve(steps: Backlog, clock: Callable[[float], None], count: int, each: float = 0.01) -> int:
    """Requests one right after the other; how many of them are turned away."""
    refused = 0
    for _ in range(count):
        if steps.too_long():
            refused += 1
        else:
            clock(each)
        steps.free()
    return refused


def test_nothing_is_asked_of_the_server_where_there_are_pauses(
    metrics: Metrics, clock: Callable[[float], None]
) -> None:
    metrics.waiting, steps = {"search": 1000}, Backlog("search", 1)
    for _ in range(100):
        assert serve(steps, clock, 1) == 0
        clock(2 * PAUSE_S)
    assert metrics.looks == 0


def test_those_beyond_the_bound_are_turned_away(metrics: Metrics, clock: Callable[[float], None]) -> None:
    metrics.waiting, steps = {"search": QUEUE + 5, "recommend": 1000}, Backlog("search", 1)
    assert serve(steps, clock, int(BUSY_S / 0.01) + 1) == 0
    assert serve(steps, clock, 6) == 5
    assert metrics.looks == 1


def test_instances_share_what_is_to_be_turned_away(metrics: Metrics, clock: Callable[[float], None]) -> None:
    metrics.waiting, steps = {"search": QUEUE + 10}, Backlog("search", 2)
    serve(steps, clock, int(BUSY_S / 0.01) + 1)
    assert serve(steps, clock, 7) == 5


def test_as_many_as_may_wait_are_answered(metrics: Metrics, clock: Callable[[float], None]) -> None:
    metrics.waiting, steps = {"search": QUEUE}, Backlog("search", 1)
    assert serve(steps, clock, 100) == 0
    assert 1 < metrics.looks <= 1.0 / LOOK_S


def test_the_queue_of_a_network_counts_too(metrics: Metrics, clock: Callable[[float], None]) -> None:
    metrics.waiting, steps = {"preprocess": 0, "ranker": QUEUE + 3}, Backlog("preprocess", 1)
    assert serve(steps, clock, int(BUSY_S / 0.01) + 5) == 3


def test_without_metrics_all_are_answered(
    clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch, metrics: Metrics
) -> None:
    metrics.waiting = {"search": 1000}
    monkeypatch.setenv(METRICS, "http://127.0.0.1:1/metrics")
    steps = Backlog("search", 1)
    assert serve(steps, clock, int(BLIND_S / 0.01)) == 0


def test_instances_are_counted_over_all_groups() -> None:
    config = {"instance_group": [{"count": 2}, {"count": 1}]}
    assert instances_of({"model_config": json.dumps(config)}) == 3
    assert instances_of({}) == 1
