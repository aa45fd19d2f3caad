"""What a store acknowledges it keeps, and what it does not keep it refuses: SQLite, Redis and its cluster alike."""

import time
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shelfbridge.profiles import Recorded, Refused
from shelfbridge.profiles.events import MAX_AHEAD
from shelfbridge.profiles.redis import RedisSink, RedisSource
from shelfbridge.profiles.redis.client import Client
from tests.unit.profile_events import DAY, NAMES, event

pytest_plugins = ("tests.unit.profile_stores",)
RETENTION = 365 * DAY


def ids(events: list[Recorded], refused: list[Refused]) -> set[str]:
    return {events[one.place].id for one in refused}


class TestRefusals:
    @pytest.mark.parametrize("ago", [366 * DAY, 500 * DAY, 730 * DAY])
    def test_an_event_beyond_the_retention_is_refused_with_cause_and_cure(self, subject, ago):
        kept, old = event("a", "new", ago=364 * DAY), event("a", "old", ago=ago)
        (refused,) = subject.store.put([kept, old])
        subject.settle()
        assert refused.place == 1
        assert refused.reason == (
            f"time: {ago / DAY:.0f} days ago, and events are kept for 365; is it in seconds since 1970?"
        )
        assert [one.product_id for one in subject.profile("a").recent] == ["new"]

    def test_a_shopper_begins_anew_at_once(self, subject):
        subject.put(event("a", "before", "buy"))
        subject.store.forget(NAMES.of("a"))
        assert subject.store.put([event("a", "after", "buy")]) == []
        subject.settle()
        assert set(subject.profile("a").bought) == {"after"}

    def test_what_happened_before_the_user_was_forgotten_is_refused(self, subject):
        before = event("a", "before", ago=5)
        subject.put(before)
        subject.store.forget(NAMES.of("a"))
        other = event("b", "others")
        (refused,) = subject.store.put([other, before])
        subject.settle()
        assert refused.place == 1
        assert "from before its user was forgotten; drop it, or set the sender's clock" in refused.reason
        assert subject.profile("a").recent == ()
        assert subject.profile("b").recent

    def test_a_clock_that_was_ahead_brings_nothing_back(self, subject):
        """Its event bears a time after the moment of forgetting, and is sent again after it."""
        ahead = event("a", "ahead", ago=-MAX_AHEAD + 5)
        subject.put(ahead)
        subject.store.forget(NAMES.of("a"))
        assert [one.place for one in subject.store.put([ahead])] == [0]
        subject.settle()
        assert subject.profile("a").recent == ()
        assert subject.store.export(NAMES.of("a"))["forgotten"] == ahead.time


@pytest.mark.parametrize("subject", ["redis", "cluster"], indirect=True)
def test_what_a_consumer_holds_and_bears_a_later_time_does_not_come_back(subject):
    client = Client(subject.uri)
    source, sink = RedisSource(client, retention_days=365), RedisSink(client, retention_days=365)
    who = f"held-{uuid4().hex}"
    events = [event(who, "ahead", ago=-200), event(who, "now")]
    sink.apply([], time.time())
    held = []
    subject.store.put(events)
    while not held and source.waiting():  # the other consumer may have been quicker
        held = [(one, Recorded.model_validate_json(one.event)) for one in source.take(0.01)]
    subject.store.forget(NAMES.of(who))
    sink.apply(held, time.time())
    assert subject.profile(who).recent == ()
    source.finish([one for one, _ in held])
    subject.settle()
    assert subject.profile(who).recent == ()
    source.leave()
    client.close()


@dataclass
class Truth:
    """One user by the rules."""

    until: float | None = None
    kept: dict[str, Recorded] = field(default_factory=dict)
    """By id."""

    def put(self, events: list[Recorded], now: float) -> set[str]:
        refused = set()
        for one in events:
            if one.time < now - RETENTION or (self.until is not None and one.time <= self.until):
                refused.add(one.id)
            else:
                self.kept.setdefault(one.id, one)
        return refused

    def forget(self, now: float) -> None:
        times = [one.time for one in self.kept.values()]
        self.until = max([now, *times, *([] if self.until is None else [self.until])])
        self.kept = {}


AGES = st.sampled_from([-MAX_AHEAD, -30.0, 0.0, 1.0, 59.5, 3600.0, 364 * DAY, 366 * DAY, 800 * DAY])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(st.tuples(AGES, st.sampled_from(["view", "buy"])), max_size=4)),
        st.tuples(st.just("again"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 61.0, MAX_AHEAD + 1])),
        st.tuples(st.just("forget"), st.none()),
        st.tuples(st.just("settle"), st.none()),
    ),
    max_size=12,
)


@given(steps=STEPS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_acknowledged_is_lost_and_nothing_forgotten_comes_back(subject, steps):
    """Whatever is put, sent again and forgotten in whatever order, and whether or not a consumer was in time."""
    user, truth, sent = f"user-{uuid4().hex}", Truth(), []
    begun = time.time()
    now = begun
    subject.store.clock = lambda: now
    for kind, what in steps:
        if kind == "put":
            events = [event(user, f"P{len(sent) + n}", how, time=now - age) for n, (age, how) in enumerate(what)]
            sent += events
            assert ids(events, subject.store.put(events)) == truth.put(events, now)
        elif kind == "again" and sent:
            again = [sent[what % len(sent)]]
            assert ids(again, subject.store.put(again)) == truth.put(again, now)
        elif kind == "wait":
            now += what
        elif kind == "forget":
            subject.store.forget(NAMES.of(user))
            truth.forget(now)
        elif kind == "settle":
            subject.settle()
    subject.settle()
    profile, kept = subject.profile(user), truth.kept.values()
    assert sorted(one.product_id for one in profile.recent) == sorted(one.product_id for one in kept)
    assert set(profile.bought) == {one.product_id for one in kept if one.kind == "buy"}
    assert subject.store.export(NAMES.of(user))["forgotten"] == truth.until
