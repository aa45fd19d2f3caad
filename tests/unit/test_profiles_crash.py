"""Kill -9 of consumer and Redis while events stream: what was acknowledged counts, and counts once."""

import random
import signal
import threading
import time
from collections import Counter
from contextlib import closing, suppress

import pytest

from shelfbridge.errors import StoreUnavailable
from shelfbridge.profiles import Recorded, open_store
from shelfbridge.profiles.popularity import HALF_LIFE, WEIGHTS
from tests.unit.profile_events import NAMES, event
from tests.unit.redis_server import RedisServer, consumer, wait_for

BATCH = 20


def stream_of(count: int) -> list[Recorded]:
    chance, now = random.Random(3), time.time()
    made = []
    for _ in range(count):
        user, product = f"u{chance.randrange(count // 20)}", f"P{chance.randrange(50)}"
        kind = chance.choice(["view", "cart", "buy", "buy"])
        made.append(event(user, product, kind, time=now - chance.uniform(0, 9e5), quantity=chance.randint(1, 9)))
    return made


def crashed(folder, count: int, kills: int) -> None:
    """Send a stream while the consumer and Redis die by turns, then compare all totals with the truth."""
    events = stream_of(count)
    with RedisServer(folder).running() as server, closing(open_store(server.uri, timeout=5.0)) as store:
        sent, refused = 0, 0

        def send() -> None:
            nonlocal sent, refused
            for start in range(0, count, BATCH):
                while True:
                    with suppress(StoreUnavailable):
                        store.put(events[start : start + BATCH])
                        break
                    refused += 1
                    time.sleep(0.01)
                sent = start + BATCH
                time.sleep(0.002)

        one, other = consumer(server.uri), consumer(server.uri)
        sender = threading.Thread(target=send)
        sender.start()
        try:
            for turn in range(kills):
                wait_for(lambda turn=turn: sent > count * (turn + 1) / (kills + 1), 120)
                if turn % 2:
                    server.kill()
                    server.start()
                else:
                    one.kill()
                    one.communicate()
                    one, other = other, consumer(server.uri)
            sender.join()
            wait_for(lambda: not waiting(server), 120)
        finally:
            for process in (one, other):
                process.send_signal(signal.SIGTERM)
            said = [process.communicate(timeout=20)[1].decode() for process in (one, other)]
        assert refused, "no put met a dead Redis: the test shows nothing"
        assert [process.returncode for process in (one, other)] == [0, 0], said
        assert all("stopped: " in text for text in said)
        assert all(NAMES.of("u1") not in text for text in said)
        compare(store, events)


def waiting(server: RedisServer) -> int:
    with closing(server.bare) as client:
        return sum(client.xlen(key) for key in client.scan_iter("sb:{s:*}:events"))


def compare(store, events: list[Recorded]) -> None:
    times, pieces, popular = Counter(), Counter(), Counter()
    now = time.time()
    for one in events:
        popular[one.product_id] += WEIGHTS[one.kind] * 2 ** ((one.time - now) / HALF_LIFE)
        if one.kind == "buy":
            times[one.who, one.product_id] += 1
            pieces[one.who, one.product_id] += one.quantity
    profiles = {who: store.profile(who) for who in {one.who for one in events}}
    bought = {(who, product): how for who, profile in profiles.items() for product, how in profile.bought.items()}
    assert {key: how.times for key, how in bought.items()} == times
    assert {key: how.quantity for key, how in bought.items()} == pieces
    kept = {who: sorted(one.time for one in events if one.who == who)[-100:] for who in list(profiles)[:20]}
    assert {who: sorted(one.time for one in profiles[who].recent) for who in kept} == kept
    assert dict(store.popular(now, 99)) == pytest.approx(popular, rel=1e-9)


def test_nothing_is_lost_or_counts_twice(tmp_path):
    crashed(tmp_path, 3_000, kills=2)


@pytest.mark.slow
def test_nothing_is_lost_or_counts_twice_over_a_long_stream(tmp_path):
    crashed(tmp_path, 20_000, kills=12)
