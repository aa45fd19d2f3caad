"""What a killed program leaves behind is found by where its program lies, and nothing else is."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy import process

Run = Callable[[Path], "subprocess.Popen[bytes]"]


@pytest.fixture
def run() -> Iterator[Run]:
    """Starts a program that waits, from a folder."""
    started = []

    def start(folder: Path) -> "subprocess.Popen[bytes]":
        folder.mkdir()
        sleep = shutil.which("sleep")
        assert sleep
        shutil.copy(sleep, folder / "program")
        started.append(subprocess.Popen([folder / "program", "60"]))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()


def test_programs_of_the_folder_are_ended(run: Run, tmp_path: Path) -> None:
    one, other = run(tmp_path / "a"), run(tmp_path / "ab")
    assert process.end_leftovers(tmp_path / "a") == 1
    assert one.wait(5) != 0
    assert other.poll() is None


def test_so_are_those_whose_file_is_gone(run: Run, tmp_path: Path) -> None:
    one = run(tmp_path / "a")
    shutil.rmtree(tmp_path / "a")
    assert process.end_leftovers(tmp_path / "a") == 1
    assert one.wait(5) != 0


def test_nothing_is_left_to_end(tmp_path: Path) -> None:
    assert process.end_leftovers(tmp_path) == 0
