"""A stage's result is made once from what it is made from, and is whole or absent."""

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from build.workspace import KEPT, Workspace, tree_digest
from shelfbridge.errors import DataError, PrerequisiteError


@pytest.fixture
def space(tmp_path):
    return Workspace(tmp_path / "stages", Console(file=io.StringIO()))


class Work:
    """A stage's work that counts its runs."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, folder: Path, text: str = "made") -> None:
        self.runs += 1
        (folder / "result.txt").write_text(text)


@pytest.fixture
def work():
    return Work()


def contents(space: Workspace, name: str) -> list[str]:
    """Folders there."""
    return sorted(p.name for p in (space.root / name).iterdir() if p.is_dir())


class TestRunning:
    def test_a_stage_runs_once(self, space, work):
        first = space.stage("s", work, data="d", rate=0.1)
        assert space.stage("s", work, data="d", rate=0.1) == first
        assert work.runs == 1
        assert (first / "result.txt").read_text() == "made"

    def test_the_result_is_there_for_another_process(self, space, work):
        folder = space.stage("s", work, data="d")
        assert Workspace(space.root, space.console).stage("s", work, data="d") == folder
        assert work.runs == 1

    @pytest.mark.parametrize("change", [{"data": "e"}, {"rate": 0.2}, {"more": None}])
    def test_other_data_or_settings_run_it_again(self, space, work, change):
        first = space.stage("s", work, data="d", rate=0.1)
        assert space.stage("s", work, **{"data": "d", "rate": 0.1, **change}) != first
        assert work.runs == 2

    def test_going_back_finds_the_earlier_result(self, space, work):
        first = space.stage("s", work, data="d")
        space.stage("s", work, data="e")
        assert space.stage("s", work, data="d") == first
        assert work.runs == 2

    def test_a_file_counts_by_its_content(self, space, work, tmp_path):
        file = tmp_path / "data.csv"
        file.write_text("a")
        first = space.stage("s", work, data=file)
        os.utime(file, (1, 1))
        assert space.stage("s", work, data=file) == first
        file.write_text("b")
        assert space.stage("s", work, data=file) != first

    def test_a_folder_counts_by_names_and_contents(self, space, work, tmp_path):
        folder = tmp_path / "data"
        folder.mkdir()
        (folder / "a").write_text("x")
        first = space.stage("s", work, data=folder)
        (folder / "a").rename(folder / "b")
        assert space.stage("s", work, data=folder) != first

    def test_an_earlier_result_counts_by_what_was_made_then(self, space, work):
        earlier = space.stage("first", work, data="d")
        later = space.stage("second", work, first=earlier)
        (earlier / "result.txt").write_text("its content is not read again")
        assert space.stage("second", work, first=earlier) == later

    def test_another_result_runs_what_reads_it_and_the_same_result_does_not(self, space, work):
        later = space.stage("second", work, first=space.stage("first", work, data="d"))
        assert space.stage("second", work, first=space.stage("first", work, data="e")) == later
        other = space.stage("first", lambda folder: work(folder, "else"), data="f")
        assert space.stage("second", work, first=other) != later

    def test_a_raised_version_runs_it_again(self, space, work):
        first = space.stage("s", work, data="d")
        assert space.stage("s", work, version=2, data="d") != first

    def test_a_result_without_its_record_is_made_again(self, space, work):
        folder = space.stage("s", work, data="d")
        (folder.parent / f".{folder.name}.json").unlink()
        assert space.stage("s", work, data="d") == folder
        assert work.runs == 2
        assert space.record(folder)["contents"] == tree_digest(folder)

    def test_others_may_read_the_result(self, space, work):
        assert space.stage("s", work).stat().st_mode & 0o777 == 0o755

    def test_two_builds_at_a_time_make_it_once(self, space):
        runs, go = [], threading.Event()

        def slow(folder: Path) -> None:
            runs.append(folder)
            go.wait(10)

        builds = [threading.Thread(target=space.stage, args=("s", slow)) for _ in range(2)]
        for build in builds:
            build.start()
        go.set()
        for build in builds:
            build.join(10)
        assert len(runs) == 1


class TestFailing:
    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_leaves_nothing(self, space, error):
        def fails(folder: Path) -> None:
            (folder / "half").write_text("x")
            raise error

        with pytest.raises(error):
            space.stage("s", fails)
        assert contents(space, "s") == []

    def test_is_made_up_for_by_the_next_run(self, space, tmp_path):
        def fails_at_first(folder: Path) -> None:
            (folder / "result").write_text("x")
            if not (tmp_path / "cured").exists():
                raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            space.stage("s", fails_at_first)
        (tmp_path / "cured").touch()
        assert (space.stage("s", fails_at_first) / "result").exists()

    def test_what_a_killed_build_left_goes_with_the_next(self, space, work):
        program = (
            "import sys, time\n"
            "from pathlib import Path\n"
            "from rich.console import Console\n"
            "from build.workspace import unfinished\n"
            "with unfinished(Path(sys.argv[1])) as folder:\n"
            "    (folder / 'half').write_text('x')\n"
            "    print('begun', flush=True)\n"
            "    time.sleep(60)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, str(space.root / "s")],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        ) as build:
            assert build.stdout.readline() == b"begun\n"
            build.send_signal(signal.SIGKILL)
        assert [name.startswith(".unfinished-") for name in contents(space, "s")] == [True]
        result = space.stage("s", work)
        assert contents(space, "s") == [result.name]


class TestPruning:
    def test_keeps_the_latest(self, space, work):
        made = []
        for number in range(KEPT + 2):
            made.append(space.stage("s", work, number=number))
            os.utime(made[-1], (number, number))
        assert contents(space, "s") == sorted(folder.name for folder in made[-KEPT:])
        records = sorted(path.name[1:-5] for path in (space.root / "s").glob(".*.json"))
        assert records == contents(space, "s")

    def test_use_counts_as_late(self, space, work):
        made = [space.stage("s", work, number=number) for number in range(KEPT)]
        for age, folder in enumerate(made):
            os.utime(folder, (age, age))
        space.stage("s", work, number=0)
        space.stage("s", work, number="new")
        assert made[0].is_dir()
        assert not made[1].exists()

    def test_a_result_that_looks_old_is_not_lost_at_once(self, space):
        for number in range(KEPT):
            space.stage("s", lambda folder: None, number=number)
        assert space.stage("s", lambda folder: os.utime(folder, (1, 1)), number="copied").is_dir()


class TestDisk:
    def test_a_full_disk_is_told_whatever_a_library_says_of_it(self, space, monkeypatch):
        def fails(folder: Path) -> None:
            raise RuntimeError("[enforce fail at inline_container.cc:664] unexpected pos 64 vs 0")

        with pytest.raises(RuntimeError, match="unexpected pos"):
            space.stage("s", fails)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
        with pytest.raises(
            PrerequisiteError, match=r"the disk of .* is full, 0 MB are free .*unexpected pos.*make room"
        ):
            space.stage("s", fails)
        assert contents(space, "s") == []

    @pytest.mark.parametrize(
        "words", ["Not enough free space to write 30000000 bytes", "I/O error: No space left on device (os error 28)"]
    )
    def test_what_a_library_has_taken_back_may_leave_space(self, space, words):
        """NumPy looks before it writes, and safetensors deletes what it wrote."""

        def fails(folder: Path) -> None:
            raise OSError(words)

        with pytest.raises(PrerequisiteError, match=r"the disk of .* is full, \d+ MB are free .*make room"):
            space.stage("s", fails)

    def test_what_is_wrong_with_the_work_is_told_on_a_full_disk_too(self, space, monkeypatch):
        def fails(folder: Path) -> None:
            raise DataError("no query")

        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
        with pytest.raises(DataError, match="no query"):
            space.stage("s", fails)

    def test_a_result_is_on_disk_before_its_record_says_that_it_is_whole(self, space, work, monkeypatch):
        synced = set()
        monkeypatch.setattr(os, "fsync", lambda number: synced.add(os.fstat(number).st_ino))
        written, write = [], Path.write_text

        def write_text(path: Path, *given: str, **named: str) -> int:
            if path.name.endswith(".json"):
                written.append(set(synced))
            return write(path, *given, **named)

        monkeypatch.setattr(Path, "write_text", write_text)
        folder = space.stage("s", work)
        assert (folder / "result.txt").stat().st_ino in written[0]

    def test_a_build_that_waits_for_another_says_so(self, space, work):
        begun, go = threading.Event(), threading.Event()

        def slow(folder: Path) -> None:
            begun.set()
            go.wait(10)

        first = threading.Thread(target=space.stage, args=("s", slow))
        first.start()
        begun.wait(10)
        second = threading.Thread(target=space.stage, args=("s", work), kwargs={"rate": 2})
        second.start()
        end = time.monotonic() + 10
        while "waits for another build" not in space.console.file.getvalue() and time.monotonic() < end:
            time.sleep(0.01)
        go.set()
        first.join(10)
        second.join(10)
        assert "waits for another build, which is at s in" in space.console.file.getvalue()
        assert work.runs == 1


def test_pythons_caches_do_not_change_a_folders_identity(tmp_path):
    (tmp_path / "model.py").write_text("x")
    before = tree_digest(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "model.pyc").write_text("y")
    assert tree_digest(tmp_path) == before
