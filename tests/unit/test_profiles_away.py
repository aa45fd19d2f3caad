"""What store and consumer do while Redis does not answer."""

import itertools
import threading
import time
from contextlib import closing

import pytest

from deploy.consumer import Totals, consume, main
from shelfbridge.errors import StoreUnavailable
from shelfbridge.profiles import open_store
from shelfbridge.profiles.consuming import Delivery, Step
from shelfbridge.profiles.store import TIMEOUT
from shelfbridge.program import BAD_INPUT
from tests.unit.profile_events import NAMES, event
from tests.unit.redis_server import RedisServer, wait_for


def answers(store) -> bool:
    try:
        return not store.profile(NAMES.of("a")).recent
    except StoreUnavailable:
        return False


class TestAbsence:
    @pytest.mark.parametrize("clustered", [False, True])
    def test_of_redis_is_said_in_time_and_ends_by_itself(self, tmp_path, clustered):
        with RedisServer(tmp_path, clustered).running() as server, closing(open_store(server.uri)) as store:
            wait_for(lambda: answers(store))
            server.pause(True)
            try:
                for ask in (store.profile, lambda who: store.popular(0, 1)):
                    waits = []
                    for _ in range(5):  # on the connection that was there, then on new ones
                        begun = time.perf_counter()
                        with pytest.raises(StoreUnavailable, match="see that it runs") as caught:
                            ask(NAMES.of("a"))
                        waits.append(time.perf_counter() - begun)
                        assert NAMES.of("a") not in str(caught.value)
                    assert sorted(waits)[3] < 1.4 * TIMEOUT, waits  # the slowest may be the scheduler's
            finally:
                server.pause(False)
            wait_for(lambda: answers(store))
            server.kill()
            with pytest.raises(StoreUnavailable):
                store.profile(NAMES.of("a"))
            server.start()
            wait_for(lambda: answers(store))

    @pytest.mark.parametrize("kind", ["redis", "redis+cluster"])
    def test_of_a_server_is_said_without_credentials(self, kind):
        store = open_store(f"{kind}://user:pass-word@127.0.0.1:1/0")
        for method, argument in ((store.profile, NAMES.of("a")), (store.put, [event("a")])):
            with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1") as caught:
                method(argument)
            assert "pass-word" not in str(caught.value)

    def test_of_a_name_is_said(self):
        with pytest.raises(StoreUnavailable, match="see that it runs"):
            open_store("redis://no-such-host.invalid").profile(NAMES.of("a"))


class TestProgram:
    def test_refuses_a_store_that_needs_none(self, capsys):
        assert main(["--profiles", "sqlite:///x.db"]) == BAD_INPUT
        assert "needs no consumer" in capsys.readouterr().err

    def test_refuses_an_address_that_is_none(self, capsys):
        assert main(["--profiles", "redis://"]) == BAD_INPUT
        assert "give redis://" in capsys.readouterr().err

    def test_says_how_it_stands(self):
        totals = Totals()
        for one in (Step(1200, 1, 0.004), Step(34, 0, 0.002)):
            totals.add(one)
        assert totals.line() == "1,234 applied, 1 set aside, 4.0 ms at most to effect"
        assert totals.line().endswith(" 0.0 ms at most to effect")

    def test_tries_again_ever_later_while_redis_is_away(self, caplog):
        stop, tries = threading.Event(), []

        class Away:
            def take(self, wait: float) -> list[Delivery]:
                tries.append(time.monotonic())
                if len(tries) == 4:
                    stop.set()
                raise StoreUnavailable("away")

        consume(Away(), None, stop, 60)
        gaps = [b - a for a, b in itertools.pairwise(tries)]
        assert len(tries) == 4
        assert 0.05 <= gaps[0] < gaps[2]
        assert "away; trying again in 0.4 s" in caplog.text
