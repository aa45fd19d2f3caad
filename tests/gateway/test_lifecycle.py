"""A hybrid cloud comes up from its topology file, answers over the WAN, and goes down without a trace."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy import ROOT
from deploy.audit.chain import read_chain
from deploy.audit.log import files, verify
from deploy.daemon import Daemon
from deploy.hybrid import Hybrid, Topology, load
from deploy.hybrid.sites import SiteServer
from shelfbridge.client import TLS, SearchClient, ShopperClient
from shelfbridge.errors import ShelfbridgeError
from shelfbridge.program import UNAVAILABLE
from tests.gateway.conftest import free_block
from tests.gateway.test_config import EXAMPLE
from tests.gateway.test_wan import root
from tests.unit.redis_server import RedisServer, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def file(topology: Topology, tmp_path: Path, secrets: Path) -> Path:
    port, file = free_block(9), tmp_path / "topology.toml"
    text = EXAMPLE.read_text()
    for old, new in {
        "out/releases/current": topology.private.release,
        "out/security": secrets,
        "out/hybrid": tmp_path / "run",
        "out/audit": tmp_path / "audit",
        "8443": port,
        "18001": port + 1,
        "18011": port + 4,
        "burst_above = 4": "burst_above = 0",
    }.items():
        text = text.replace(old, str(new))
    file.write_text(text)
    return file


@pytest.mark.parametrize("kind", ["relay", pytest.param("namespaces", marks=root)])
def test_up_answers_down(file: Path, secrets: Path, token: Callable[..., str], kind: str) -> None:
    file.write_text(file.read_text().replace("[wan]", f'[wan]\nkind = "{kind}"'))
    hybrid = Hybrid(load(file))
    try:
        up = command("up", file)
        assert up.returncode == 0, up.stderr
        assert kind in up.stdout
        assert "audit: runs" in up.stdout
        with SearchClient(hybrid.gateway.address, tls=TLS(secrets / "ca.crt"), token=token()) as client:
            client.search("red running shoes")
            found = client.search("red running shoes")
        assert found.hits
        assert found.round_trip_ms > hybrid.topology.wan.rtt_ms * 0.8
        assert hybrid.public.requests()["search"] == 2
        assert hybrid.private.requests()["search"] == 0
        with pytest.raises(ShelfbridgeError, match="runs already"):
            hybrid.wan.up()
    finally:
        assert command("down", file).returncode == 0
    assert command("status", file).returncode == UNAVAILABLE
    log = lines(hybrid)
    assert [(line["site"], line["version"], line["status"]) for line in log] == [("public", "1", "OK")] * 2
    if os.geteuid() == 0:
        names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        assert hybrid.wan.inside == [] or hybrid.wan.inside[3] not in names


def test_lines_that_a_killed_collector_left_are_collected(file: Path, secrets: Path, token: Callable[..., str]) -> None:
    file.write_text(file.read_text().replace("[wan]", '[wan]\nkind = "relay"'))
    hybrid = Hybrid(load(file))
    try:
        assert command("up", file).returncode == 0
        with SearchClient(hybrid.gateway.address, tls=TLS(secrets / "ca.crt"), token=token()) as client:
            client.search("red running shoes")
            (collector,) = hybrid.beside.values()
            os.kill(Daemon(hybrid.topology.run_dir / "audit", "collector").pid or 0, signal.SIGKILL)
            for number in range(3):
                client.search(f"lamp {number}", user="u-4711")
        status = command("status", file)
        assert status.returncode == UNAVAILABLE
        assert "audit: does not run" in status.stdout
        assert not collector.running
    finally:
        assert command("down", file).returncode == 0
    assert [line["decision"] for line in lines(hybrid)] == ["burstable", *["private"] * 3]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis", password="pass-word")
    with server.running():
        yield server


def test_profiles_in_redis_are_the_private_sites(
    file: Path, secrets: Path, token: Callable[..., str], redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = file.read_text().replace("[wan]", '[wan]\nkind = "relay"')
    file.write_text(text.replace("[public]", f'profiles = "{redis.uri}"\n[public]'))
    monkeypatch.setenv("SHELFBRIDGE_PROFILES", redis.uri)
    monkeypatch.setenv("SHELFBRIDGE_KEY_FILE", str(file.parent / "private.key"))
    hybrid = Hybrid(load(file))
    address = {"tls": TLS(secrets / "ca.crt"), "token": token("recommend", "events", "search")}
    try:
        up = command("up", file)
        assert up.returncode == 0, up.stderr
        assert "consumer: runs" in up.stdout
        with ShopperClient(hybrid.gateway.address, **address) as client:
            event = {"event_id": "e-1", "user": "u-4711", "kind": "view", "product_id": "cn-1", "time": time.time()}
            assert client.send([event]).accepted == 1
            wait_for(lambda: client.recommend(user="u-4711").shown == "for_you")
        assert b"pass-word" in of_site(hybrid.private, "environ")
        assert b"pass-word" not in of_site(hybrid.private, "cmdline")
        assert b"pass-word" not in of_site(hybrid.public, "environ")
        assert b"private.key" not in of_site(hybrid.public, "environ")
        store = f"sqlite:///{hybrid.public.settings.run_dir}/profiles.sqlite"
        assert store.encode() in of_site(hybrid.public, "environ")
        for folder in ("private", "public", "gateway"):
            for written in (hybrid.topology.run_dir / folder).glob("*.*"):
                assert not written.is_file() or b"pass-word" not in written.read_bytes(), written
    finally:
        down = command("down", file)
    assert down.returncode == 0, down.stderr
    assert not [name for name, each in hybrid.beside.items() if each.running]


def of_site(site: SiteServer, name: str) -> bytes:
    """What the system knows of a site's server and its Python processes."""
    found = subprocess.run(["pgrep", "--session", str(site.pid)], capture_output=True, check=True).stdout.split()
    assert len(found) > 1
    return b"".join(Path(f"/proc/{pid.decode()}/{name}").read_bytes() for pid in found)


def lines(hybrid: Hybrid) -> list[dict[str, Any]]:
    """Those of the audit log, which are as they were written."""
    audit = hybrid.topology.audit
    assert audit is not None
    verify(audit.folder, read_chain(audit.key))
    return [json.loads(line) for path in files(audit.folder) for line in path.read_bytes().splitlines()]


def command(name: str, file: Path) -> "subprocess.CompletedProcess[str]":
    arguments = [sys.executable, "-m", "deploy.hybrid", name, "--topology", str(file)]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
