"""A program that dies is started again, later each time if it dies soon, and no longer once it was taken down."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from deploy import keeper, process

STARTS = """
import json, pathlib, subprocess, sys, time
state, count = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1] + ".starts")
count.write_text(count.read_text() + "x" if count.exists() else "x")
if len(count.read_text()) <= int(sys.argv[2]):
    sys.exit(1)
from deploy import process
pid = subprocess.Popen(["sleep", sys.argv[3]], start_new_session=True).pid
state.write_text(json.dumps({"pid": pid, "ticks": process.started(pid)}))
"""
"""Starts a program of so many seconds, but for its first so many times, when it fails."""


class Kept:
    """A program and how it is started again."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state.json"
        self._count = folder / "state.json.starts"

    def command(self, failing: int = 0, seconds: float = 60) -> list[str]:
        return [sys.executable, "-c", STARTS, str(self.state), str(failing), str(seconds)]

    def start(self, seconds: float = 60) -> None:
        subprocess.run(self.command(0, seconds), check=True)
        self._count.unlink()

    @property
    def pid(self) -> int:
        return int(json.loads(self.state.read_text())["pid"])

    @property
    def lives(self) -> bool:
        return process.started(self.pid) == json.loads(self.state.read_text())["ticks"]

    @property
    def starts(self) -> int:
        return len(self._count.read_text()) if self._count.exists() else 0


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    program = Kept(tmp_path)
    yield program
    if program.state.exists() and program.lives:
        os.kill(program.pid, signal.SIGKILL)


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Enough(Exception):
    """Of the pauses."""


def pauses_of(kept: Kept, command: Sequence[str], count: int) -> list[float]:
    """The first so many pauses of a keeper, none of them waited for."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == count:
            raise Enough

    with pytest.raises(Enough):
        keeper.keep(kept.state, command, pause)
    return pauses


@pytest.fixture
def beside(kept: Kept) -> Iterator["subprocess.Popen[str]"]:
    """A keeper that watches the program."""
    kept.start()
    command = [sys.executable, "-m", "deploy.keeper", str(kept.state), *kept.command()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        assert keeper.KEEPS in running.stdout.readline()
        yield running
        running.kill()


def test_who_is_killed_comes_back_each_time(kept: Kept, beside: "subprocess.Popen[str]") -> None:
    for time_of in range(2):
        killed = kept.pid
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda time_of=time_of: kept.starts == time_of + 1)
        wait_for(lambda killed=killed: kept.pid != killed and kept.lives)
    assert beside.poll() is None


def test_taken_down_is_not_started(kept: Kept, beside: "subprocess.Popen[str]") -> None:
    pid = kept.pid
    kept.state.unlink()
    os.kill(pid, signal.SIGKILL)
    assert beside.wait(10) == 0
    assert kept.starts == 0


def test_ends_when_it_is_told_to_and_leaves_the_program(kept: Kept, beside: "subprocess.Popen[str]") -> None:
    beside.terminate()
    assert beside.wait(10) == 0
    assert kept.lives


def test_another_process_of_the_same_id_is_not_taken_for_it(kept: Kept) -> None:
    kept.state.write_text(json.dumps({"pid": os.getpid(), "ticks": 1}))
    assert pauses_of(kept, kept.command(), 1) == [0]


def test_whoever_dies_soon_or_cannot_start_waits_longer_each_time(kept: Kept) -> None:
    kept.start(0.01)
    assert pauses_of(kept, kept.command(failing=2, seconds=0.01), 9) == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert kept.starts == 8


def test_who_lasted_long_is_started_at_once(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LONG_S", 0.05)
    kept.start(0.1)
    assert pauses_of(kept, kept.command(seconds=0.1), 3) == [0, 0, 0]
