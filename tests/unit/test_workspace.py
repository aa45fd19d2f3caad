"""A stage's result is made once from what it is made from, and is whole or absent."""

import importlib.util
import io
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from build.workspace import KEPT, Workspace, code_digest, tree_digest


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
    return sorted(p.name for p in (space.root / name).iterdir() if p.name != ".lock")


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

    def test_an_earlier_stage_counts_by_its_name(self, space, work):
        earlier = space.stage("first", work, data="d")
        later = space.stage("second", work, first=earlier)
        (earlier / "result.txt").write_text("its content is not read again")
        assert space.stage("second", work, first=earlier) == later
        other = space.stage("first", work, data="e")
        assert space.stage("second", work, first=other) != later

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


class TestCode:
    """Modules made for the test stand in for the project's, under its name."""

    @pytest.fixture
    def module(self, tmp_path, monkeypatch):
        def make(name: str, source: str):
            path = tmp_path / f"{name}.py"
            path.write_text(source)
            spec = importlib.util.spec_from_file_location(name, path)
            made = importlib.util.module_from_spec(spec)
            monkeypatch.setitem(sys.modules, name, made)
            spec.loader.exec_module(made)
            return made

        return make

    STAGE = "def work(folder, size=1):\n    (folder / 'result').write_text('x')\n"

    def test_a_change_of_the_works_module_runs_it_again(self, space, module):
        first = space.stage("s", module("build._stage", self.STAGE).work)
        assert space.stage("s", module("build._stage", self.STAGE).work) == first
        assert space.stage("s", module("build._stage", self.STAGE + "# changed\n").work) != first

    def test_a_partial_is_as_the_function_in_it(self, space, module):
        made = module("build._stage", self.STAGE)
        assert space.stage("s", partial(made.work, size=2)) == space.stage("s", made.work)

    @pytest.mark.parametrize(
        "line",
        [
            "from shelfbridge._limits import LIMIT",
            "from shelfbridge import _limits",
            "import shelfbridge._limits",
            "def f():\n    from shelfbridge._limits import LIMIT",
        ],
    )
    def test_a_change_of_a_used_module_runs_it_again(self, module, monkeypatch, line):
        import shelfbridge

        monkeypatch.setattr(shelfbridge, "_limits", module("shelfbridge._limits", "LIMIT = 1\n"), raising=False)
        stage = module("build._stage", f"{line}\n{self.STAGE}")
        before = code_digest(stage)
        assert code_digest(stage) == before
        module("shelfbridge._limits", "LIMIT = 2\n")
        assert code_digest(stage) != before

    def test_a_change_two_imports_away_runs_it_again(self, module):
        module("shelfbridge._limits", "LIMIT = 1\n")
        module("build._between", "from shelfbridge._limits import LIMIT\n")
        stage = module("build._stage", f"from build._between import LIMIT\n{self.STAGE}")
        before = code_digest(stage)
        module("shelfbridge._limits", "LIMIT = 2\n")
        assert code_digest(stage) != before

    def test_other_peoples_modules_do_not_count(self, module):
        module("elsewhere", "LIMIT = 1\n")
        stage = module("build._stage", f"from elsewhere import LIMIT\n{self.STAGE}")
        before = code_digest(stage)
        module("elsewhere", "LIMIT = 2\n")
        assert code_digest(stage) == before

    def test_settings_do_not_count_as_code(self):
        import build.encoder
        from build.workspace import SETTINGS, _used

        used = {module.__name__ for module in _used(build.encoder, set())}
        assert "build.models" in used
        assert SETTINGS not in used

    def test_the_index_depends_on_the_contract(self):
        import build.index
        from build.workspace import _used
        from shelfbridge import contract

        assert contract in _used(build.index, set())


def test_pythons_caches_do_not_change_a_folders_identity(tmp_path):
    (tmp_path / "model.py").write_text("x")
    before = tree_digest(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "model.pyc").write_text("y")
    assert tree_digest(tmp_path) == before
