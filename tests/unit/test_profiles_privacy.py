"""What stores keep no longer than they should, give out in full, and forget."""

import json
import time
from contextlib import ExitStack, closing

from shelfbridge.profiles import Bought, Profile, open_store
from shelfbridge.profiles.consuming import Delivery
from shelfbridge.profiles.events import MAX_AHEAD
from shelfbridge.profiles.redis import RedisSink
from shelfbridge.profiles.redis.client import Client
from tests.unit.profile_events import DAY, NAMES, event
from tests.unit.redis_server import wait_for

pytest_plugins = ("tests.unit.profile_stores",)


def test_nothing_is_kept_beyond_the_retention(subject):
    subject.put(event("a", "old", "buy", ago=366 * DAY), event("a", "new", "buy", ago=364 * DAY))
    assert [one.product_id for one in subject.profile("a").recent] == ["new"]
    assert set(subject.profile("a").bought) == {"new"}
    assert "old" not in json.dumps(subject.store.export(NAMES.of("a")))
    assert [name for name, _ in subject.store.popular(time.time(), 9)] in ([], ["new"])  # 52 half-lives


def test_what_is_too_old_does_not_add_to_a_later_purchase(subject):
    late = event("a", "P1", "buy", ago=1)
    subject.put(late)
    subject.put(event("a", "P1", "buy", ago=366 * DAY))
    assert subject.profile("a").bought == {"P1": Bought(1, 1, late.time, late.time)}


def test_what_grows_old_goes(subject):
    """A retention of 3 seconds, seen by the profile as it passes, and by the store a while later."""
    days = 3 / DAY
    with ExitStack() as stack:
        store = stack.enter_context(closing(open_store(subject.uri, retention_days=days)))
        if subject.server is None:
            store.put([event("a", "P1", "buy", ago=1)])
        else:
            client = stack.enter_context(closing(Client(subject.uri)))
            buy = event("a", "P1", "buy", ago=1)
            mark = int(time.time() * 1000) * 1000
            RedisSink(client, retention_days=days).apply([(Delivery("s", "1-1", mark, b""), buy)], time.time())
        assert len(store.profile(NAMES.of("a")).recent) == 1
        wait_for(lambda: store.profile(NAMES.of("a")) == Profile(), 4)
        if subject.server is None:
            store._swept = 0.0
            store.put([event("b")])
        wait_for(lambda: NAMES.of("a") not in repr(subject.held()), 4)


class TestForgetting:
    def test_leaves_nothing_but_the_time(self, subject):
        subject.put(event("alice", "only-alice", "buy", context="beside"), event("bob", "P2", "cart"))
        subject.store.put([event("alice", "waits")])
        subject.store.forget(NAMES.of("alice"))
        subject.settle()
        assert subject.profile("alice") == Profile()
        left = {name: text for name, text in subject.held().items() if NAMES.of("alice") in name + text}
        assert set(left) == {"forgotten" if subject.server is None else f"sb:{{u:{NAMES.of('alice')}}}:forgotten"}
        assert not [text for text in left.values() if "alice" in text or "beside" in text]
        assert [one.product_id for one in subject.profile("bob").recent] == ["P2"]

    def test_outlasts_old_events_that_come_again(self, subject):
        first, ahead = event("a", "P1", "buy"), event("a", "P2", ago=-MAX_AHEAD + 5)
        subject.put(first, ahead)
        popular = subject.store.popular(first.time, 9)
        subject.store.forget(NAMES.of("a"))
        subject.put(first, ahead, event("a", "P3", "buy"))
        assert subject.profile("a") == Profile()
        assert subject.store.popular(first.time, 9) == popular

    def test_lets_a_shopper_begin_anew(self, subject):
        subject.put(event("a", "before"))
        subject.store.forget(NAMES.of("a"))
        subject.put(event("a", "after"))
        assert [one.product_id for one in subject.profile("a").recent] == ["after"]

    def test_twice_keeps_the_later_time(self, subject):
        subject.store.forget(NAMES.of("a"))
        until = subject.store.export(NAMES.of("a"))["forgotten"]
        subject.store.clock = lambda: time.time() - 1000
        subject.store.forget(NAMES.of("a"))
        assert subject.store.export(NAMES.of("a"))["forgotten"] == until

    def test_a_stranger_is_no_error(self, subject):
        subject.store.forget(NAMES.of("nobody"))
        assert subject.profile("nobody") == Profile()


def test_an_export_is_complete(subject):
    events = [event("a", f"P{n}", "buy" if n % 2 else "view", ago=n, context=f"C{n}") for n in range(7)]
    subject.put(*events, event("b", "not-hers"))
    found = subject.store.export(NAMES.of("a"))
    assert json.loads(json.dumps(found)) == found
    assert [(r["product_id"], r["kind"], r["time"], r["context"]) for r in found["recent"]] == [
        (e.product_id, e.kind, e.time, e.context) for e in events
    ]
    assert {b["product_id"]: b["last"] for b in found["bought"]} == {e.product_id: e.time for e in events[1::2]}
    assert set(found["event_ids"]) == {e.id for e in events}
    assert all(abs(arrived - time.time()) < 60 for arrived in found["event_ids"].values())
    assert (found["waiting"], found["set_aside"], found["forgotten"]) == ([], [], None)
    assert "not-hers" not in json.dumps(found)
