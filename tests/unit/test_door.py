"""When a step turns requests away: it has gone on without a pause, and more wait than may."""

import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from shelfbridge import door
from shelfbridge.door import BUSY_S, METRICS, PAUSE_S, QUEUE, Door, queues


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

    monkeypatch.setattr(door.time, "monotonic", lambda: now)
    return forward


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread looks by itself."""
    monkeypatch.setattr(Door, "_start", lambda self: None)


def serve(
    step: Door, clock: Callable[[float], None], count: int, each: float = 0.01, deadline: float | None = None
) -> int:
    """Requests one right after the other; how many of them are turned away."""
    refused = 0
    for _ in range(count):
        if step.refusal(deadline):
            refused += 1
        else:
            clock(each)
        step.free()
    return refused


BUSY = int(BUSY_S / 0.01) + 2
"""Requests in a row after which a step is busy."""


@pytest.mark.usefixtures("asleep")
class TestDoor:
    def test_a_step_with_pauses_is_not_busy(self, clock):
        step = Door(["search"], 1)
        for _ in range(100):
            serve(step, clock, 1)
            clock(2 * PAUSE_S)
        assert not step.busy
        step.look({"search": 1000})
        assert serve(step, clock, 1) == 0

    def test_those_beyond_the_bound_are_turned_away(self, clock):
        step = Door(["search"], 1)
        assert serve(step, clock, BUSY) == 0
        step.look({"search": QUEUE + 5, "recommend": 1000})
        assert serve(step, clock, 8) == 5

    def test_after_a_pause_nothing_is_left_to_be_turned_away(self, clock):
        step = Door(["search"], 1)
        serve(step, clock, BUSY)
        step.look({"search": QUEUE + 5})
        clock(2 * PAUSE_S)
        assert serve(step, clock, 8) == 0

    def test_instances_share_what_is_to_be_turned_away(self, clock):
        step = Door(["search"], 2)
        serve(step, clock, BUSY)
        step.look({"search": QUEUE + 10})
        assert serve(step, clock, 9) == 5

    def test_as_many_as_may_wait_are_answered(self, clock):
        step = Door(["search"], 1)
        serve(step, clock, BUSY)
        step.look({"search": QUEUE})
        assert serve(step, clock, 100) == 0

    def test_the_queue_of_a_guarded_model_counts_and_of_no_other(self, clock):
        step = Door(["preprocess", "ranker"], 1)
        serve(step, clock, BUSY)
        step.look({"preprocess": 0, "ranker": QUEUE + 3, "cross_encoder": 500})
        assert serve(step, clock, 9) == 3

    def test_who_has_waited_longer_than_its_caller_waits_is_turned_away(self, clock):
        step = Door(["search"], 2)
        serve(step, clock, 60)  # of 10 ms each
        step.look({"search": 40})  # so that the next one has waited 200 ms
        assert "requests wait 2" in str(step.refusal(0.1))
        assert step.refusal(0.5) is None
        assert step.refusal(None) is None

    def test_a_step_that_guards_nothing_turns_nothing_away(self, clock):
        step = Door([], 1)
        assert serve(step, clock, 500) == 0


class TestLooking:
    def test_a_busy_step_learns_how_many_wait_beside_its_requests(self, metrics, monkeypatch):
        monkeypatch.setattr(door, "LOOK_S", 0.005)
        monkeypatch.setattr(door, "IDLE_S", 0.1)
        metrics.waiting, step = {"search": QUEUE + 40}, Door(["search"], 1)
        until = time.monotonic() + 10
        refused = 0
        while not refused and time.monotonic() < until:
            refused += step.refusal() is not None
            step.free()
        assert refused
        assert metrics.looks
        while step.busy:  # no request comes any more
            assert time.monotonic() < until
            time.sleep(0.01)
        looks = metrics.looks
        time.sleep(10 * door.LOOK_S)
        assert metrics.looks == looks

    def test_a_step_that_is_not_busy_asks_nothing(self, metrics):
        metrics.waiting, step = {"search": 1000}, Door(["search"], 1)
        for _ in range(5):
            assert step.refusal() is None
            step.free()
            time.sleep(2 * PAUSE_S)
        assert metrics.looks == 0

    def test_without_metrics_all_are_answered(self, metrics, monkeypatch):
        monkeypatch.setenv(METRICS, "http://127.0.0.1:1/metrics")
        assert queues() is None

    def test_queues_by_model(self, metrics):
        metrics.waiting = {"search": 3, "ranker": 0}
        assert queues() == {"search": 3, "ranker": 0}
