"""Stages that run: what runs again and what does not, and what is said of it."""

import io
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from build import declaration
from build.__main__ import listed, told
from build.declaration import Stage
from build.workspace import Workspace

ROOT = Path(__file__).parents[2]
QUIET = Console(file=io.StringIO())

STAGE = '''
"""{doc}"""

def first(folder, text):
    (folder / "made").write_text(text[:1])

def second(folder, first):
    (folder / "made").write_text((first / "made").read_text() * 2)
'''


@pytest.fixture
def space(tmp_path):
    return Workspace(tmp_path / "stages", Console(file=io.StringIO()))


def chain(version: int = 1, text: str = "ab") -> tuple[Stage, Stage]:
    """Two stages of the module `stage_works`: the second reads the first."""
    one = Stage("first", "stage_works:first", version, parameters={"text": text})
    return one, Stage("second", "stage_works:second", 1, inputs={"first": one})


class TestRunning:
    @pytest.fixture(autouse=True)
    def works(self, tmp_path, monkeypatch) -> Path:
        file = tmp_path / "stage_works.py"
        file.write_text(STAGE.format(doc="As it was."))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "stage_works", raising=False)
        return file

    def run(self, space: Workspace, *chains: tuple[Stage, Stage]) -> list[str]:
        """Stages that ran."""
        fresh = Workspace(space.root, Console(file=io.StringIO(), width=200))
        for _, last in chains:
            fresh.run(last)
        lines = fresh.console.file.getvalue().splitlines()
        return [line for line in lines if ":" not in line]

    def test_a_changed_comment_or_docstring_runs_nothing(self, space, works):
        assert self.run(space, chain()) == ["first", "second"]
        works.write_text("# A remark\n" + STAGE.format(doc="Said better."))
        sys.modules.pop("stage_works")
        assert self.run(space, chain()) == []

    def test_what_was_imported_before_has_no_effect(self, space):
        """Each process has imported something else when it asks: all name the same results."""
        program = (
            "import sys\nfor name in sys.argv[2:]: __import__(name)\n"
            "from pathlib import Path\nfrom build.workspace import Workspace\nfrom rich.console import Console\n"
            "from tests.unit.test_stages_running import chain\n"
            "print(Workspace(Path(sys.argv[1]), Console(quiet=True)).run(chain()[1]))\n"
        )
        told = {
            subprocess.run(
                [sys.executable, "-c", program, str(space.root), *imported],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(space.root.parent)},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for imported in ([], ["shelfbridge.retrieval"])
        }
        assert len(told) == 1
        assert self.run(space, chain()) == []

    def test_a_raised_version_runs_it_and_not_what_reads_the_same_result(self, space):
        self.run(space, chain())
        assert self.run(space, chain(version=2)) == ["first"]

    def test_another_result_runs_what_reads_it(self, space):
        self.run(space, chain())
        assert self.run(space, chain(text="ac")) == ["first"]
        assert self.run(space, chain(text="ba")) == ["first", "second"]
        assert self.run(space, chain()) == []

    def test_nothing_is_imported_for_what_is_unchanged(self, space):
        self.run(space, chain())
        sys.modules.pop("stage_works")
        self.run(space, chain())
        assert "stage_works" not in sys.modules

    def test_why_names_what_changed(self, space):
        one, two = chain()
        assert space.states([one, two])[two].reasons == (
            "it has no result yet",
            "input first: first is to be made first",
        )
        self.run(space, (one, two))
        assert [state.reasons for state in space.states([one, two]).values()] == [(), ()]
        one, two = chain(version=2, text="ba")
        states = space.states([one, two])
        assert states[one].reasons == ("version: 1 -> 2", "parameter text: ab -> ba")
        assert states[two].reasons == ("input first: first is to be made first",)
        text = listed(list(states.values()))
        assert "first   v2  to be made: version: 1 -> 2 (and 1 more: --why first)" in text
        assert "parameter text: ab -> ba" in told(list(states.values()), "first")
        self.run(space, (one, two))
        assert "second is unchanged: " in told(list(space.states([one, two]).values()), "second")

    def test_a_given_stage_is_made_and_taken_as_it_is_that_day(self, space):
        """As the shelf takes prices: another result of that stage alone does not run it again."""

        def reading(text: str) -> tuple[Stage, Stage]:
            one, _ = chain(text=text)
            return one, Stage("second", "stage_works:second", 1, given={"first": one})

        assert self.run(space, reading("ab")) == ["first", "second"]
        assert self.run(space, reading("ba")) == ["first"]

    @pytest.mark.parametrize("needed", [True, False])
    def test_a_stage_that_another_finds_unneeded_is_not_run(self, space, needed):
        work = "stage_works:first" if needed else "build.declaration:say_unneeded"
        asked = Stage("asked", work, 1, parameters={"text": "a"} if needed else {})
        one, two = chain()
        two = replace(two, only_after=asked)
        made = space.run(two)
        assert (made / "made").exists() == needed
        assert (made / declaration.UNNEEDED).exists() != needed
        states = space.states([asked, two])
        assert states[two].folder == made
        assert space.states([one])[one].folder is None or needed

    def test_what_is_forgotten_runs_again_and_nothing_else(self, space):
        one, two = chain()
        self.run(space, (one, two))
        Workspace(space.root, QUIET).forget([two])
        assert self.run(space, chain()) == ["second"]
        Workspace(space.root, QUIET).forget([one, two])
        assert self.run(space, chain()) == ["first", "second"]

    def test_what_is_forgotten_runs_again_where_a_result_before_it_is_lost(self, space):
        one, two = chain()
        self.run(space, (one, two))
        shutil.rmtree(space.run(one))
        again, (one, two) = Workspace(space.root, Console(file=io.StringIO(), width=200)), chain()
        again.forget([one, two])
        again.run(two)
        told = again.console.file.getvalue().splitlines()
        assert [line for line in told if ":" not in line] == ["first", "second"]
        assert self.run(space, chain()) == []
