"""What `hybrid up` leaves behind when a part of it does not start: nothing."""

import subprocess
import sys

import pytest

from deploy.embedded import ServerError
from deploy.hybrid import Hybrid, load
from deploy.hybrid.topology import EXAMPLE

LATE = "import pathlib, sys, time; time.sleep(1); pathlib.Path(sys.argv[1]).touch()"


@pytest.fixture
def hybrid(monkeypatch):
    topology = load(EXAMPLE)
    cloud = Hybrid(topology.model_copy(update={"wan": topology.wan.model_copy(update={"kind": "relay"})}))
    monkeypatch.setattr(cloud, "_check", lambda: None)
    monkeypatch.setattr(cloud.wan, "up", lambda: None)
    monkeypatch.setattr(cloud, "down", lambda: True)
    return cloud


def program(*arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", *map(str, arguments)], stderr=subprocess.PIPE, text=True)


def test_a_site_on_its_way_up_is_stopped_when_the_other_fails(hybrid, monkeypatch, tmp_path):
    started = [program("import sys; sys.exit('no memory')"), program(LATE, tmp_path / "started")]
    monkeypatch.setattr(hybrid.private, "start", lambda: started[0])
    monkeypatch.setattr(hybrid.public, "start", lambda: started[1])
    with pytest.raises(ServerError, match="the private site did not start: no memory"):
        hybrid.up()
    assert all(process.poll() is not None for process in started)
    assert not (tmp_path / "started").exists()
