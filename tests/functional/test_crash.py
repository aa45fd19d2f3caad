"""Kill -9 of Triton, consumer and Redis while events stream: what was acknowledged counts, and counts once."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.embedded import EmbeddedServer, EmbeddedSettings
from shelfbridge.client import ShopperClient
from shelfbridge.errors import SearchError
from shelfbridge.profiles import Event, Pseudonyms, load_or_make_key, open_store
from tests.unit.redis_server import RedisServer, consumer, wait_for
from tests.unit.test_profiles_crash import compare, waiting

BATCH = 20


def stream_of(count: int) -> list[Event]:
    chance, now = random.Random(3), time.time()
    return [
        Event(
            event_id=uuid4().hex,
            user=f"u{chance.randrange(count // 20)}",
            kind=chance.choice(["view", "cart", "buy", "buy"]),
            product_id=f"P{chance.randrange(50)}",
            quantity=chance.randint(1, 9),
            time=now - chance.uniform(0, 9e5),
        )
        for _ in range(count)
    ]


def kill(server: EmbeddedServer) -> None:
    """SIGKILL for the server and its processes, then a new one in the same folder."""
    state = server.status().state
    assert state is not None
    os.killpg(state.pid, signal.SIGKILL)
    server.down()
    server.up()


class Sender(threading.Thread):
    """Sends events batch by batch, each until it is acknowledged, as a shop's program would."""

    def __init__(self, address: str, events: list[Event]) -> None:
        super().__init__()
        self.address, self.events = address, events
        self.sent = self.failed = 0

    def run(self) -> None:
        with ShopperClient(self.address, timeout=10, retries=0) as client:
            for start in range(0, len(self.events), BATCH):
                batch = self.events[start : start + BATCH]
                while True:
                    with suppress(SearchError):
                        assert client.send(batch).accepted == len(batch)
                        break
                    self.failed += 1
                    time.sleep(0.02)
                self.sent = start + len(batch)


def stream(server: EmbeddedServer, events: list[Event], kills: list[Callable[[], None]]) -> None:
    """Send all, with kills evenly between, and hold what is kept against the truth."""
    sender = Sender(server.address, events)
    sender.start()
    for turn, one in enumerate(kills, start=1):
        wait_for(lambda turn=turn: sender.sent > len(events) * turn / (len(kills) + 1), 300)
        one()
    sender.join()
    assert sender.failed, "no batch met a dead server: the test shows nothing"


def compared(settings: EmbeddedSettings, events: list[Event]) -> None:
    names = Pseudonyms(load_or_make_key(settings.key))
    with closing(open_store(settings.store, timeout=5.0)) as store:
        compare(store, [names.record(event) for event in events])


def in_sqlite(settings: EmbeddedSettings, count: int, kills: int) -> None:
    events = stream_of(count)
    with EmbeddedServer(settings) as server:
        stream(server, events, [lambda: kill(server)] * kills)
    compared(settings, events)


def test_sqlite(repository: Path, make_settings: Callable[..., EmbeddedSettings]) -> None:
    in_sqlite(make_settings(repository), 2_000, kills=1)


@pytest.mark.slow
def test_sqlite_over_a_long_stream(repository: Path, make_settings: Callable[..., EmbeddedSettings]) -> None:
    in_sqlite(make_settings(repository), 20_000, kills=6)


@pytest.mark.slow
def test_redis_over_a_long_stream(
    repository: Path, make_settings: Callable[..., EmbeddedSettings], tmp_path: Path
) -> None:
    events = stream_of(20_000)
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tmp_path).running())
        settings = make_settings(repository).model_copy(update={"profiles": redis.uri})
        consumers = [consumer(redis.uri), consumer(redis.uri)]
        try:
            server = stack.enter_context(EmbeddedServer(settings))

            def kill_consumer() -> None:
                consumers[0].kill()
                consumers[0].communicate()
                consumers[:] = [consumers[1], consumer(redis.uri)]

            def kill_redis() -> None:
                redis.kill()
                redis.start()

            stream(server, events, [lambda: kill(server), kill_consumer, kill_redis] * 4)
            wait_for(lambda: not waiting(redis), 120)
            compared(settings, events)
        finally:
            for process in consumers:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=20)
