"""Each lack is one sentence with its cure, before anything long starts."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import prerequisites

ROOT = Path(__file__).parents[2]


def test_a_python_too_old_or_too_new_is_named_with_those_that_do():
    assert "3.8" in prerequisites.check_python((3, 8))
    assert "3.11 or 3.12" in prerequisites.check_python((3, 14))
    assert prerequisites.check_python((3, 11)) is None


def test_another_platform_is_pointed_to_the_container():
    assert "container" in prerequisites.check_platform("darwin", "arm64")
    assert prerequisites.check_platform("linux", "x86_64") is None


def test_a_python_without_shared_library_names_the_package(monkeypatch):
    monkeypatch.setattr(prerequisites, "libpython", lambda: "libpython9.9.so.1.0")
    assert "apt-get install libpython3" in prerequisites.check_libpython()


def test_too_little_room_says_how_much_is_needed(tmp_path):
    assert "GB are needed" in prerequisites.check_disk(str(tmp_path / "not yet"), 1 << 60)
    assert prerequisites.check_disk(str(tmp_path), 1) is None
    assert "--shm-size" in prerequisites.check_shared_memory(1 << 60)
    assert "/nowhere is missing" in prerequisites.check_shared_memory(1, "/nowhere")
    assert "of memory" in prerequisites.check_memory(1 << 60)


@pytest.fixture
def taken():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_a_taken_port_is_named_with_the_flag_that_chooses_another(taken):
    problem = prerequisites.check_ports("127.0.0.1", {"http": taken})
    assert f"Port {taken} for http" in problem
    assert "--http-port" in problem


def test_the_command_ends_with_the_sentence_and_not_with_a_traceback(taken):
    done = subprocess.run(
        [sys.executable, "-m", "deploy.prerequisites", "--ports"],
        cwd=ROOT,
        env={**os.environ, "SHELFBRIDGE_GRPC_PORT": str(taken)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"Port {taken} for grpc" in done.stderr
    assert "Traceback" not in done.stderr
