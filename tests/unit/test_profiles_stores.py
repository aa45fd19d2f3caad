"""What every store of profiles does: SQLite, Redis, and Redis as a cluster."""

import multiprocessing
import os
import random
import threading
import time
from contextlib import closing

import pytest

from shelfbridge.errors import SettingsError
from shelfbridge.profiles import Bought, Profile, Recent, open_store
from shelfbridge.profiles.popularity import HALF_LIFE, WEIGHTS
from shelfbridge.profiles.profile import BOUGHT, RECENT
from tests.unit.profile_events import DAY, event

pytest_plugins = ("tests.unit.profile_stores",)


def test_a_stranger_is_empty(subject):
    assert subject.profile("nobody") == Profile()
    assert subject.store.popular(time.time(), 10) == []


def test_a_profile_holds_what_was_put(subject):
    view, buy = event("a", "Ünï 靴,", ago=9, context="P0"), event("a", "P2", "buy", ago=3.25, quantity=2)
    subject.put(view, buy)
    assert subject.profile("a") == Profile(
        (Recent("P2", "buy", buy.time, 2), Recent("Ünï 靴,", "view", view.time, 1, "P0")),
        {"P2": Bought(1, 2, buy.time, buy.time)},
    )
    assert subject.profile("b") == Profile()


def test_the_latest_comes_first_whatever_the_order_of_arrival(subject):
    events = [event("a", f"P{n}", ago=n) for n in range(30)]
    shuffled = random.Random(1).sample(events, 30)
    subject.put(*shuffled[:11])
    subject.put(*shuffled[11:])
    assert [one.product_id for one in subject.profile("a").recent] == [f"P{n}" for n in range(30)]


def test_of_one_time_the_later_arrival_comes_first(subject):
    now = time.time()
    subject.put(*(event("a", f"P{n}", time=now) for n in (1, 2)))
    subject.put(*(event("a", f"P{n}", time=now) for n in (0, 3)))
    assert [one.product_id for one in subject.profile("a").recent] == ["P3", "P0", "P2", "P1"]


def test_a_profile_holds_the_latest_only(subject):
    subject.put(*(event("a", f"P{n}", ago=n) for n in reversed(range(RECENT + 20))))
    subject.put(event("a", "old", ago=10_000))
    assert [one.product_id for one in subject.profile("a").recent] == [f"P{n}" for n in range(RECENT)]


def test_purchases_add_up_in_any_order(subject):
    times = [time.time() - ago for ago in (50.5, 10.25, 99.125)]
    subject.put(*(event("a", "P1", "buy", time=at, quantity=n + 1) for n, at in enumerate(times)))
    subject.put(*(event("a", "P9", "buy", ago=ago) for ago in range(RECENT, 2 * RECENT)))
    assert subject.profile("a").bought["P1"] == Bought(3, 6, times[2], times[1])


def test_purchases_are_kept_of_the_latest_products(subject):
    now = time.time()
    for start in (0, 500, 1000):
        subject.put(*(event("a", f"P{n}", "buy", time=now - n) for n in range(start, start + 500)))
    assert set(subject.profile("a").bought) == {f"P{n}" for n in range(BOUGHT)}


def test_an_event_counts_once(subject):
    buy = event("a", "P1", "buy", quantity=2)
    for batch in ([buy], [buy, buy], [buy.model_copy(update={"product_id": "P2"})]):
        subject.put(*batch)
    assert len(subject.profile("a").recent) == 1
    assert subject.profile("a").bought == {"P1": Bought(1, 2, buy.time, buy.time)}
    assert subject.store.popular(buy.time, 9) == [("P1", pytest.approx(WEIGHTS["buy"], rel=1e-9))]


def test_ids_are_the_users_own(subject):
    subject.put(event("a", event_id="same"), event("b", event_id="same"))
    assert len(subject.profile("a").recent) == len(subject.profile("b").recent) == 1


def test_popularity_is_the_decayed_sum_of_weights(subject):
    now, random_ = time.time(), random.Random(2)
    truth: dict[str, float] = {}
    events = []
    for _ in range(300):
        product, kind, ago = f"P{random_.randrange(9)}", random_.choice(list(WEIGHTS)), random_.uniform(0, 60 * DAY)
        events.append(event(random_.choice("abc"), product, kind, time=now - ago))
        truth[product] = truth.get(product, 0) + WEIGHTS[kind] * 2 ** (-ago / HALF_LIFE)
    subject.put(*events)
    ranked = sorted(truth.items(), key=lambda item: -item[1])
    assert subject.store.popular(now, 99) == [(name, pytest.approx(score, rel=1e-9)) for name, score in ranked]
    assert subject.store.popular(now + HALF_LIFE, 2) == [
        (name, pytest.approx(score / 2, rel=1e-9)) for name, score in ranked[:2]
    ]
    assert subject.store.popular(now, 0) == []


def test_an_empty_batch_is_taken(subject):
    subject.put()


def test_writers_at_once_lose_nothing(subject):
    batches = [[event(f"u{n % 5}", f"P{n % 3}", "buy") for _ in range(10)] for n in range(24)]

    def work(part) -> None:
        with closing(open_store(subject.uri)) as store:
            for batch in part:
                store.put(batch)

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(batches[n::4],)) for n in range(2)]
    threads = [threading.Thread(target=work, args=(batches[n::4],)) for n in (2, 3)]
    for one in processes + threads:
        one.start()
    for one in processes + threads:
        one.join()
    assert [process.exitcode for process in processes] == [0, 0]
    subject.settle()
    bought = [subject.profile(f"u{n}").bought for n in range(5)]
    assert sum(how.times for user in bought for how in user.values()) == 240


def test_a_fork_goes_on_with_the_store(subject):
    subject.put(event("a"))
    assert subject.profile("a").recent
    child = os.fork()
    if not child:
        try:
            found = subject.profile("a").recent
            subject.store.put([event("a", "from-the-child")])
            os._exit(0 if found else 1)
        except BaseException:
            os._exit(2)
    for _ in range(20):
        assert subject.profile("a").recent
    assert os.waitpid(child, 0)[1] == 0
    subject.settle()
    assert {one.product_id for one in subject.profile("a").recent} == {"P1", "from-the-child"}


@pytest.mark.parametrize("uri", ["", "profiles.db", "mysql://x", "sqlite://", "sqlite:///", "redis://", "redis://h:x"])
def test_an_address_of_no_store_is_refused(uri):
    with pytest.raises(SettingsError, match=r"use sqlite:///|give redis://"):
        open_store(uri)


@pytest.mark.parametrize("settings", [{"retention_days": 0}, {"timeout": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(SettingsError, match="above 0"):
        open_store("sqlite:///x.db", **settings)
