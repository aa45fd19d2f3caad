"""What is Redis's alone: streams, their consumers, and what happens when it does not answer."""

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from shelfbridge.errors import StoreUnavailable
from shelfbridge.profiles import Recorded, open_store
from shelfbridge.profiles.consuming import Delivery, Step, step
from shelfbridge.profiles.popularity import WEIGHTS
from shelfbridge.profiles.redis import RedisSink, RedisSource, keys
from shelfbridge.profiles.redis import sink as sinks
from shelfbridge.profiles.redis.client import Client
from shelfbridge.profiles.redis.stream import GROUP
from tests.unit.profile_events import NAMES, event
from tests.unit.redis_server import RedisServer


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")).running() as one:
        yield one


@pytest.fixture
def redis(server):
    with closing(server.bare) as client:
        client.flushall()
        yield client


@pytest.fixture
def store(server, redis):
    with closing(open_store(server.uri, timeout=2.0)) as one:
        yield one


@pytest.fixture
def client(server):
    with closing(Client(server.uri)) as one:
        yield one


def member(client: Client, take_over: float = 30.0) -> tuple[RedisSource, RedisSink]:
    return RedisSource(client, retention_days=365, take_over=take_over), RedisSink(client, retention_days=365)


def all_streams(redis, pattern: str) -> list:
    return [entry for key in redis.scan_iter(f"sb:*:{pattern}") for entry in redis.xrange(key)]


class TestConsumers:
    def test_an_event_counts_within_a_moment(self, store, client):
        source, sink = member(client)
        step(source, sink, 0.01)
        store.put([event("a", "P1", "buy")])
        taken = step(source, sink, 1.0)
        assert (taken.applied, taken.set_aside) == (1, 0)
        assert 0 <= taken.delay < 1
        assert store.profile(NAMES.of("a")).recent
        assert step(source, sink, 0.01) == Step()

    def test_what_was_put_before_the_first_consumer_counts(self, store, client):
        store.put([event(user) for user in "abcdefghij"])
        assert step(*member(client), 1.0).applied == 10

    def test_work_of_the_dead_is_taken_over_and_counts_once(self, store, client):
        """Whatever the dead one did: took the batch, counted it in profiles, or in what is popular too."""
        times = time.time()
        store.put([event(f"u{n}", "P1", "buy", time=times) for n in range(6)])
        dead, sink = member(client)
        taken = dead.take(1.0)
        pairs = [(delivery, Recorded.model_validate_json(delivery.event)) for delivery in taken]
        sink.apply(pairs[:2], time.time())
        sink._profiles(pairs[2:4])
        source, sink = member(client, take_over=0.05)
        time.sleep(0.06)
        assert step(source, sink, 0.01).applied == 6
        assert store.popular(times, 1) == [("P1", pytest.approx(6 * WEIGHTS["buy"], rel=1e-9))]
        assert [store.profile(NAMES.of(f"u{n}")).bought["P1"].times for n in range(6)] == [1] * 6
        assert step(source, sink, 0.01).applied == 0

    def test_what_a_slow_one_still_holds_counts_once(self, store, client):
        buy = event("a", "P1", "buy")
        store.put([buy])
        slow, sink = member(client)
        held = [(delivery, buy) for delivery in slow.take(1.0)]
        quick = member(client, take_over=0)
        assert step(*quick, 1.0).applied == 1
        store.put([event("a", "P2", "buy")])
        assert step(*quick, 1.0).applied == 1  # Redis has heard by now that the first is settled
        sink.apply(held, time.time())
        assert dict(store.popular(buy.time, 2))["P1"] == pytest.approx(WEIGHTS["buy"], rel=1e-9)

    def test_what_is_remembered_of_entries_does_not_grow(self, store, client, redis, monkeypatch):
        source, sink = member(client)
        monkeypatch.setattr(sinks, "SETTLED", 1)
        for _ in range(3):
            store.put([event("a") for _ in range(20)])
            step(source, sink, 1.0)
        assert redis.zcard(keys.POPULAR[1]) == 20
        time.sleep(1.1)
        store.put([event("a")])
        step(source, sink, 1.0)
        assert redis.zcard(keys.POPULAR[1]) + redis.zcard(keys.POPULAR[2]) <= 21

    def test_what_another_works_on_is_left_to_it(self, store, client):
        store.put([event("a")])
        first, _ = member(client)
        assert len(first.take(1.0)) == 1
        assert not member(client, take_over=30)[0].take(0.01)

    def test_an_event_sent_again_is_not_taken_for_one_delivered_again(self, store, client):
        source, sink = member(client)
        buy = event("a", "P1", "buy")
        for _ in range(3):
            store.put([buy])
            step(source, sink, 1.0)
        assert store.popular(buy.time, 1) == [("P1", pytest.approx(WEIGHTS["buy"], rel=1e-9))]

    def test_one_that_stood_still_too_long_does_not_count(self, store, client, monkeypatch):
        source, sink = member(client)
        store.put([event("a")])
        monkeypatch.setattr(sinks, "SETTLED", -1)
        with pytest.raises(StoreUnavailable, match="stood still"):
            step(source, sink, 1.0)
        assert source.waiting() == 1
        assert store.popular(time.time(), 9) == []

    def test_streams_hold_only_what_waits(self, store, client, redis):
        source, sink = member(client)
        store.put([event(f"u{n}") for n in range(50)])
        assert source.waiting() == 50
        step(source, sink, 1.0)
        assert source.waiting() == 0
        assert all_streams(redis, "events") == []
        store.put([event("a")])
        source.take(1.0)
        assert source.waiting() == 1

    def test_one_that_leaves_is_forgotten_unless_it_holds_something(self, store, client, redis):
        def names() -> set[bytes]:
            return {one["name"] for stream in keys.STREAMS for one in redis.xinfo_consumers(stream, GROUP)}

        source, _ = member(client)
        store.put([event("a")])
        source.take(1.0)
        source.leave()
        assert names() == {source.name.encode()}
        other, _ = member(client, take_over=0)
        other.finish(other.take(1.0))
        other.leave()
        source.leave()
        assert names() == set()

    def test_a_group_that_redis_lost_is_made_again(self, store, client, redis):
        source, sink = member(client)
        step(source, sink, 0.01)
        redis.flushall()
        store.put([event("a")])
        with pytest.raises(StoreUnavailable):
            step(source, sink, 0.01)
        assert step(source, sink, 1.0).applied == 1


class TestPoison:
    @pytest.mark.parametrize(
        "fields",
        [
            {"other": "x"},
            {"event": b"\xff"},
            {"event": "{}"},
            {"event": event("a").model_dump_json().replace("view", "stare")},
        ],
    )
    def test_is_set_aside_with_a_reason_and_the_rest_counts(self, store, client, redis, fields):
        redis.xadd(keys.STREAMS[3], fields)
        store.put([event("a"), event("b")])
        assert step(*member(client), 1.0) == Step(2, 1, pytest.approx(0, abs=5))
        ((_, kept),) = all_streams(redis, "set_aside")
        assert kept[b"reason"]
        assert {name.encode() for name in fields} <= set(kept)
        assert all_streams(redis, "events") == []

    def test_is_also_what_redis_cannot_count(self, store, client, redis):
        redis.set(keys.of_user(NAMES.of("a"))[0], "no sorted set")
        store.put([event("a"), event("b")])
        assert step(*member(client), 1.0) == Step(1, 1, pytest.approx(0, abs=5))
        ((_, kept),) = all_streams(redis, "set_aside")
        assert b"no profile" in kept[b"reason"]
        redis.delete(keys.of_user(NAMES.of("a"))[0])
        assert NAMES.of("a") in str(store.export(NAMES.of("a"))["set_aside"])

    def test_is_forgotten_with_its_user(self, store, client, redis):
        redis.set(keys.of_user(NAMES.of("a"))[0], "no sorted set")
        store.put([event("a"), event("b")])
        step(*member(client), 1.0)
        store.forget(NAMES.of("a"))
        assert all_streams(redis, "set_aside") == []

    def test_is_not_what_a_full_redis_refuses(self, store, client, redis):
        source, sink = member(client)
        store.put([event("a")])
        redis.config_set("maxmemory", 1)
        try:
            with pytest.raises(StoreUnavailable):
                step(source, sink, 1.0)
            with pytest.raises(StoreUnavailable):
                store.put([event("a")])
        finally:
            redis.config_set("maxmemory", 0)
        assert step(RedisSource(client, retention_days=365, take_over=0), sink, 1.0) == Step(
            1, 0, pytest.approx(0, abs=9)
        )


class TestForgetting:
    def test_reaches_what_waits_and_what_a_consumer_holds(self, store, client, redis):
        source, sink = member(client)
        store.put([event("a", "held"), event("b", "kept")])
        held = source.take(1.0)
        store.put([event("a", "waits")])
        assert [
            Recorded.model_validate_json(one["event"]).product_id for one in store.export(NAMES.of("a"))["waiting"]
        ] == ["held", "waits"]
        store.forget(NAMES.of("a"))
        assert NAMES.of("a") not in str(all_streams(redis, "events"))
        sink.apply([(one, Recorded.model_validate_json(one.event)) for one in held], time.time())
        source.finish(held)
        assert not store.profile(NAMES.of("a")).recent
        assert [name for name, _ in store.popular(time.time(), 9)] == ["kept"]
        assert member(client, take_over=0)[0].take(0.01) == []

    def test_reads_on_beyond_a_page(self, store, redis, monkeypatch):
        monkeypatch.setattr("shelfbridge.profiles.redis.store.PAGE", 7)
        store.put([event(f"u{n % 40}") for n in range(200)])
        store.forget(NAMES.of("u3"))
        assert len(all_streams(redis, "events")) == 195


def test_a_connection_that_broke_is_not_noticed(store, redis):
    store.profile(NAMES.of("a"))
    redis.client_kill_filter(_type="normal", skipme=True)
    store.profile(NAMES.of("a"))


def test_marks_order_entries_within_a_millisecond():
    from shelfbridge.profiles.redis.stream import _deliveries

    made = _deliveries("s", [(b"1795552670730-0", {b"event": b"x"}), (b"1795552670730-12", {})])
    assert made == [
        Delivery("s", "1795552670730-0", 1795552670730000, b"x"),
        Delivery("s", "1795552670730-12", 1795552670730012, b""),
    ]


def test_keys_of_a_script_share_a_slot(redis):
    assert len({key[key.index("{") : key.index("}")] for key in keys.of_user(NAMES.of("a"))}) == 1
    assert {keys.events(NAMES.of(f"u{n}")) for n in range(100)} == set(keys.STREAMS)
