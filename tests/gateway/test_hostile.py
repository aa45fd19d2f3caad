"""Hostile requests at real sites through a real gateway, a short form of `make fuzz`: nothing breaks."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from rich.console import Console

from build.progress import progress
from deploy.hybrid import Hybrid, Topology
from loadtests.fuzz.__main__ import fuzz
from loadtests.fuzz.calls import attacks
from loadtests.fuzz.report import broken
from loadtests.fuzz.watch import LOOK_S, TELLING, Lives, Watched, growth
from loadtests.hybrid.cloud import Cloud
from loadtests.timing import meanwhile
from shelfbridge.client import SearchClient
from tests.gateway.attempts import ANONYMOUS, field
from tests.gateway.conftest import Open
from tests.gateway.hostile import Caller

pytestmark = pytest.mark.slow


def test_nothing_breaks(own: Callable[[str], Topology], tmp_path: Path) -> None:
    with Cloud(own("fuzz"), tmp_path / "security") as cloud, progress(Console(stderr=True)) as bar:
        # Triton 24.10 does not always survive calls given up: server issues 7368 and 8034
        sent = list(attacks(420, 3, given_up=False))
        found = fuzz(cloud, sent, ["red running shoes", "lamp"], tmp_path / "others", bar)
    assert found["growth_mb"] == {}  # too few requests to tell
    assert broken(found) == []
    assert found["others"]["gateway, beside attacks"]["count"] > 10
    assert found["ends"]["a token that opens nothing"]["gateway"].keys() <= {"UNAUTHENTICATED", "PERMISSION_DENIED"}


def test_a_death_is_seen_and_timed(own: Callable[[str], Topology], tmp_path: Path) -> None:
    with Cloud(own("mortal"), tmp_path / "security") as cloud:
        cloud.use("hybrid")
        public, watched = cloud.hybrid.public, Watched(cloud)
        lives = Lives((cloud.hybrid.private, public))
        with meanwhile(lives.look, pause=LOOK_S):
            assert not watched.look(1, 0.1)
            assert public.pid
            os.killpg(public.pid, signal.SIGKILL)
            while not lives.deaths:
                time.sleep(0.01)
            assert not lives.lost
            assert watched.look(2, 0.2)
            lives.wait()
        (death,) = lives.deaths
        assert death.site == "public"
        assert death.back
        assert 0.2 < death.back - death.at < 30
        assert not watched.look(3, 0.3)
        assert not watched.look(4, 0.4)
        assert watched.ended == set()
        assert [sorted(look["memory"]) for look in watched.looks] == [
            ["gateway", "private", "public"],
            *[["gateway", "private"]] * 3,
        ]
        assert growth([{**look, "requests": TELLING} for look in watched.looks]).keys() == {"gateway", "private"}


def test_malformed_requests_eject_no_site(
    hybrid: Hybrid, gateway: Open, client: Callable[..., SearchClient], secrets: Path, token: Callable[..., str]
) -> None:
    malformed = framed_id(b"\xff\xfe")
    with gateway() as running, client() as searching:
        caller = Caller(hybrid.topology.gateway.port, secrets, token())
        assert {caller.send(malformed) for _ in range(20)} == {grpc.StatusCode.INTERNAL}
        for number in range(20):
            searching.search(f"lamp {number}")
        assert set(running.counters("outlier_detection.ejections_enforced_total").values()) == {0}
        caller.close()


def framed_id(text: bytes) -> bytes:
    """A search whose id is no UTF-8: a site cannot read it, and says INTERNAL."""
    return ANONYMOUS.SerializeToString() + field(3, text)
