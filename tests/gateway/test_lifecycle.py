"""A hybrid cloud comes up from its topology file, answers over the WAN, and goes down without a trace."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.embedded.settings import ROOT
from deploy.hybrid import Hybrid, Topology, load
from deploy.hybrid.__main__ import NOT_RUNNING
from shelfbridge.client import TLS, SearchClient
from shelfbridge.errors import ShelfbridgeError
from tests.gateway.conftest import free_block
from tests.gateway.test_config import EXAMPLE
from tests.gateway.test_wan import root

pytestmark = pytest.mark.slow


@pytest.fixture
def file(topology: Topology, tmp_path: Path, secrets: Path) -> Path:
    port, file = free_block(9), tmp_path / "topology.toml"
    text = EXAMPLE.read_text()
    for old, new in {
        "out/releases/current": topology.private.release,
        "out/security": secrets,
        "out/hybrid": tmp_path / "run",
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
    assert command("status", file).returncode == NOT_RUNNING
    if os.geteuid() == 0:
        names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        assert hybrid.wan.inside == [] or hybrid.wan.inside[3] not in names


def command(name: str, file: Path) -> "subprocess.CompletedProcess[str]":
    arguments = [sys.executable, "-m", "deploy.hybrid", name, "--topology", str(file)]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
