"""A caller's deadline holds on the whole way, and the settings' where a caller gives none."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.hybrid import Hybrid
from shelfbridge.client import SearchClient
from shelfbridge.errors import DeadlineExceeded
from tests.functional.wire import query_message
from tests.gateway.conftest import Open, frozen
from tests.gateway.hostile import framed, opening, over_http2

pytestmark = pytest.mark.slow

Client = Callable[..., SearchClient]


def test_callers_deadline_ends_the_upstream_call(hybrid: Hybrid, gateway: Open, client: Client) -> None:
    with gateway() as running, client() as searching:
        searching.search("red running shoes", user="u-1")
        with frozen(hybrid.private.pid):
            begun = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                searching.search("red running shoes", user="u-1", timeout=0.3)
            assert time.monotonic() - begun < 0.6
            time.sleep(0.2)
            assert sum(running.counters("cluster.private.upstream_rq_active").values()) == 0


def test_deadline_of_the_settings(hybrid: Hybrid, gateway: Open, secrets: Path, token: Callable[..., str]) -> None:
    message = framed(query_message("red running shoes", user=b"u-1").SerializeToString())
    headers = [*opening(token()), ("content-type", "application/grpc")]
    with gateway(policies={"deadline": 0.5}) as running, frozen(hybrid.private.pid):
        begun = time.monotonic()
        answer = over_http2(running.settings.port, secrets, [message], headers)
        assert 0.4 < time.monotonic() - begun < 1.5
    assert answer["grpc-status"] in ("4", "14")
