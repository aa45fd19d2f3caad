"""The private site is killed or frozen under load: anonymous searches go on, restricted ones fail with a clear error,
and both are back soon after the site is."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from deploy.daemon import Daemon
from deploy.hybrid import Hybrid
from shelfbridge.client import SearchClient, ShopperClient
from shelfbridge.errors import ConnectionFailed, SearchError
from tests.gateway.conftest import Open, frozen
from tests.gateway.load import searches

pytestmark = pytest.mark.slow

Client = Callable[..., SearchClient]
TRY = 0.4
CALLERS = 4


@contextmanager
def unkept(hybrid: Hybrid) -> Iterator[None]:
    """The private site is not started again before the end, and then has to be."""
    with frozen(Daemon(hybrid.private.settings.run_dir, "keeper").pid):
        yield
    deadline = time.monotonic() + 60
    while not ((state := hybrid.private.state) and state.ready):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed(hybrid: Hybrid, gateway: Open, client: Client, token: Callable[..., str]) -> None:
    pid = hybrid.private.pid
    assert pid is not None
    with gateway(policies={"per_try_timeout": TRY}), client() as restricted:
        with unkept(hybrid):
            with searches(client, CALLERS) as tally:
                time.sleep(1)
                os.killpg(pid, signal.SIGKILL)
                killed = time.monotonic()
                time.sleep(1)
            first = min(when for when, _ in tally.ended if when > killed + 0.001) - killed
            print(
                f"killed: {len(tally.ended)} searches, first answer {first * 1e3:.0f} ms, "
                f"worst {tally.worst * 1e3:.0f} ms"
            )
            assert tally.failures == []
            assert tally.worst < TRY  # not even one waits for its end
            with pytest.raises(ConnectionFailed, match="must not leave"):
                restricted.search("red running shoes", user="u-1")
            assert restricted.ready()
            assert restricted.ready(deep=True)
            with client(kind=ShopperClient) as shopper:
                assert not shopper.ready()
            with client(token=token(residency=None)) as bound:
                assert not bound.ready()
        back = seconds_until(lambda: restricted.search("red running shoes", user="u-1").hits)
        print(f"failback after {back:.2f} s")
        assert back < 3


def test_what_must_not_leave_learns_of_a_freeze_within_its_one_try(
    hybrid: Hybrid, gateway: Open, client: Client
) -> None:
    with gateway(policies={"private_timeout": 0.5}), client(timeout=5) as restricted:
        restricted.search("red running shoes", user="u-1")
        with frozen(hybrid.private.pid):
            begun = time.monotonic()
            with pytest.raises(ConnectionFailed, match="must not leave"):
                restricted.search("red running shoes", user="u-1")
            assert time.monotonic() - begun < 0.9


def test_frozen(hybrid: Hybrid, gateway: Open, client: Client) -> None:
    with gateway(policies={"per_try_timeout": TRY}), client(timeout=0.5) as restricted:
        with searches(client, CALLERS) as tally:
            time.sleep(1)
            with frozen(hybrid.private.pid):
                time.sleep(2.5)
                with pytest.raises(ConnectionFailed, match="must not leave"):
                    restricted.search("red running shoes", user="u-1")
                public = hybrid.public.requests()["search"]
                time.sleep(0.3)
                assert hybrid.public.requests()["search"] > public
        print(f"frozen: {len(tally.ended)} searches, worst {tally.worst * 1e3:.0f} ms")
        assert tally.failures == []
        assert tally.worst < TRY + 0.3
        back = seconds_until(lambda: restricted.search("red running shoes", user="u-1").hits)
        print(f"failback after {back:.2f} s")
        assert back < 3


def seconds_until(works: Callable[[], object]) -> float:
    """How long until a call works."""
    begun = time.monotonic()
    while time.monotonic() < begun + 10:
        try:
            works()
        except SearchError:
            time.sleep(0.02)
        else:
            break
    return time.monotonic() - begun
