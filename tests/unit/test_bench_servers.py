"""Peers' environments and servers: made once, waited for, held still, always ended, and named when they fail."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from loadtests import usage
from loadtests.bench import environments
from loadtests.bench.environments import environment, pins, uv_variables
from loadtests.bench.servers import Service
from shelfbridge.errors import PrerequisiteError

QUIET = Console(quiet=True)
SERVER = """
import sys, subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"ready")
    def log_message(self, *_): pass
subprocess.Popen([sys.executable, "-c", "while True: pass"])
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def service(tmp_path, port):
    """A server with a child that never rests."""
    made = Service("fake", [sys.executable, "-c", SERVER, str(port)], port, tmp_path / "fake.log")
    yield made
    made.down()


def used(service: Service, seconds: float = 0.3) -> float:
    before = cpu(service.pid)
    time.sleep(seconds)
    return cpu(service.pid) - before


def cpu(pid: int) -> float:
    return sum(usage.cpu_seconds(pid).values())


def test_a_server_that_is_held_uses_no_cpu_and_goes_on_when_released(service):
    service.up()
    assert used(service) > 0.05
    service.hold()
    assert used(service) <= 0.02
    service.release()
    assert used(service) > 0.05


def test_a_held_server_and_its_children_are_ended(service):
    service.up()
    pids = [one.pid for one in usage.processes(service.pid)]
    assert len(pids) == 2
    service.hold()
    service.down()
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() and cpu(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(usage.resident_bytes(pid) for pid in pids)
    service.down()


def test_a_server_that_dies_is_named_with_its_last_words(tmp_path, port):
    code = "import sys; sys.exit('no such model')"
    with pytest.raises(PrerequisiteError, match=r"fake did not start: no such model \(log: .*fake.log\)"):
        Service("fake", [sys.executable, "-c", code], port, tmp_path / "fake.log").up()


def test_a_port_that_is_taken_is_named_and_left_alone(tmp_path, port):
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PrerequisiteError, match=rf"port {port} is in use"):
        Service("fake", [sys.executable, "-c", ""], port, tmp_path / "fake.log").up()
    assert not (tmp_path / "fake.log").exists()


def test_uv_is_told_what_pip_was_told():
    found = uv_variables({"PIP_FIND_LINKS": "/a /b", "PIP_INDEX_URL": "http://mirror/simple", "HOME": "/h"})
    assert found["UV_FIND_LINKS"] == "/a,/b"
    assert found["UV_DEFAULT_INDEX"] == "http://mirror/simple"
    assert found["HOME"] == "/h"
    assert "UV_TORCH_BACKEND" not in found


def test_the_cpu_build_of_pytorch_is_chosen_where_no_wheels_are_given():
    assert uv_variables({})["UV_TORCH_BACKEND"] == "cpu"


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """uv's command lines; the peer `some` needs one package, and uv fails where it is asked for `broken`."""
    for name in ("some", "broken"):
        (tmp_path / f"{name}.txt").write_text(f"{name}-package==1.0\n")
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    made: list[list[str]] = []

    def run(command: list[str], **_: object) -> None:
        made.append(command)
        Path(command[4] if command[1] == "venv" else tmp_path).mkdir(parents=True, exist_ok=True)
        if "broken" in command[-1] and command[1] == "pip":
            raise subprocess.CalledProcessError(1, command, stderr="working\n  no such package\n")

    monkeypatch.setattr(environments.subprocess, "run", run)
    return made


def test_an_environment_is_made_once_for_the_same_requirements(tmp_path, calls):
    first = environment("some", tmp_path / "made", QUIET)
    assert len(calls) == 2
    assert environment("some", tmp_path / "made", QUIET) == first
    assert len(calls) == 2
    (tmp_path / "some.txt").write_text("some-package==2.0\n")
    assert environment("some", tmp_path / "made", QUIET) != first
    assert pins("some") == {"some-package": "2.0"}


def test_an_environment_that_failed_is_tried_again(tmp_path, calls):
    for _ in range(2):
        with pytest.raises(PrerequisiteError, match=r"broken: .*\(no such package\)"):
            environment("broken", tmp_path / "made", QUIET)
    assert len(calls) == 4


def test_all_requirements_are_pinned():
    files = list(environments.REQUIREMENTS.glob("*.txt"))
    assert len(files) == 5
    for file in files:
        assert all("==" in line and "+" not in line for line in file.read_text().splitlines())
