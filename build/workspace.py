"""Results of stages, each in a folder named after everything that it was made from.

A stage works in a temporary folder that is renamed when it is complete, so a result is whole or absent, an interrupted
build goes on where it stopped, and going back to earlier settings finds the earlier results. Beside each result lies a
record of what it was made from and of what came of it. DVC and doit were considered: both track single files in a store
of their own and neither makes a folder appear atomically.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python
from rich.console import Console

from build.declaration import UNNEEDED, Recipe, Stage, differences, installed
from shelfbridge.changes import sync_all
from shelfbridge.errors import PrerequisiteError, ShelfbridgeError

KEPT = 3
"""Results kept per stage; older ones are deleted when a new one appears."""
LEAST_FREE = 16_000_000
"""Bytes of a disk below which it is full: a file that does not fit may be larger than what is left."""
NO_SPACE = re.compile("no space left|free space", re.IGNORECASE)
"""In messages of libraries that take back what they had written."""
CHECKPOINTS = "checkpoints"
"""Folder in which a stage leaves what it goes on from when it is killed; it deletes it when it is done."""
NO_RESULT = ("__pycache__", "tensorboard")
"""Folders that are no part of what a stage made: caches, and logs that differ from run to run."""


@dataclass(frozen=True)
class State:
    """How a stage stands before it is run."""

    stage: Stage
    folder: Path | None
    """Of its result, if it would not run."""
    reasons: tuple[str, ...]
    """Why it would run."""


@dataclass(frozen=True)
class Workspace:
    """The folder of all stage results."""

    root: Path
    console: Console
    _found: dict[Stage, Path] = field(default_factory=dict, repr=False, compare=False)
    _again: set[str] = field(default_factory=set, repr=False, compare=False)

    def run(self, stage: Stage) -> Path:
        """The folder of a stage's result; it and those before it run where their results are not there already."""
        if stage.only_after is not None and (self.run(stage.only_after) / UNNEEDED).exists():
            stage = stage.unneeded
        if stage not in self._found:
            folders = {name: self.run(one) for name, one in stage.before.items()}
            recipe = stage.recipe({name: self.contents(folder) for name, folder in folders.items()})
            if stage.name in self._again and (folder := self._folder(stage.name, recipe)).is_dir():
                _delete(folder)
            self._again.discard(stage.name)
            folders |= {name: self.run(one) for name, one in stage.given.items() if isinstance(one, Stage)}
            self._found[stage] = self._made(stage.name, recipe, partial(stage.fill, before=folders))
        return self._found[stage]

    def stage(
        self,
        name: str,
        work: Callable[[Path], object],
        *,
        version: int = 1,
        libraries: tuple[str, ...] = (),
        **made_from: Any,
    ) -> Path:
        """The folder of a result that is no stage of a declared build; `work(folder)` fills it if it is not there.

        Args:
            name: of the stage, shown and used as a folder name.
            work: what makes the result.
            version: raised by hand when `work` computes something else from the same.
            libraries: distributions that do its arithmetic.
            made_from: what the result depends on. A path to an earlier stage's folder or to a file counts by its
                content, everything else by its value.
        """
        inputs = {key: self._identity(value) for key, value in made_from.items() if isinstance(value, Path)}
        parameters = {key: value for key, value in made_from.items() if not isinstance(value, Path)}
        recipe: Recipe = {
            "version": version,
            "inputs": inputs,
            "parameters": to_jsonable_python(parameters, fallback=repr),
        }
        recipe["libraries"] = {one: installed(one) for one in libraries}
        return self._made(name, recipe, work)

    def states(self, stages: Sequence[Stage]) -> dict[Stage, State]:
        """Of each stage, whether it would run now, and why; nothing is run."""
        known: dict[Stage, State] = {}
        for stage in stages:
            self._look(stage, known)
        return {stage: known[stage] for stage in stages}

    def _look(self, stage: Stage, known: dict[Stage, State]) -> Path | None:
        asked = None if stage.only_after is None else self._look(stage.only_after, known)
        if asked is not None and (asked / UNNEEDED).exists():
            self._look(stage.unneeded, known)
            known[stage] = replace(known[stage.unneeded], stage=stage)
        if stage not in known:
            before = {name: self._look(one, known) for name, one in stage.before.items()}
            missing = [name for name, folder in before.items() if folder is None]
            recipe = stage.recipe({name: self.contents(folder) for name, folder in before.items() if folder})
            folder, last = self._folder(stage.name, recipe), self._last(stage.name)
            if not missing and _record(folder) is not None:
                known[stage] = State(stage, folder, ())
            else:
                for name in missing:  # not known yet, so no difference
                    recipe["inputs"][name] = (last or recipe)["inputs"].get(name)
                reasons = ["it has no result yet"] if last is None else [*differences(last, recipe)]
                reasons += [f"input {name}: {stage.before[name].name} is to be made first" for name in missing]
                known[stage] = State(stage, None, tuple(reasons))
        return known[stage].folder

    def forget(self, stages: Sequence[Stage]) -> None:
        """Delete what stages have made with the settings of now, so that they run again.

        What one has made cannot be told where what it reads is to be made first: then it is deleted in its turn.
        """
        found = [state.folder for state in self.states(stages).values() if state.folder is not None]
        self._again.update(stage.name for stage in stages)
        self._found.clear()
        for folder in found:
            _delete(folder)

    def contents(self, folder: Path) -> str:
        """Digest of what a stage has made.

        Raises:
            KeyError: no stage has made this folder.
        """
        record = _record(folder)
        if record is None:
            raise KeyError(folder)
        return str(record["contents"])

    def record(self, folder: Path) -> dict[str, Any]:
        """What a result was made from (`recipe`), what came of it (`contents`), and the seconds that it took."""
        return _record(folder) or {}

    def _made(self, name: str, recipe: Recipe, work: Callable[[Path], object]) -> Path:
        folder = self._folder(name, recipe)
        if _record(folder) is not None:
            os.utime(folder)
            self.console.print(f"[dim]{name}: unchanged[/dim]")
            return folder
        self.console.print(f"[bold]{name}[/bold]")
        begun = time.monotonic()
        told = f"  waits for another build, which is at {name} in {self.root} too"
        with unfinished(folder.parent, folder.name, partial(self.console.print, told, highlight=False)) as result:
            if _record(folder) is None:  # another build may have made it meanwhile
                with full_disk_told(result):
                    work(result)
                os.utime(result)
                seconds = time.monotonic() - begun
                shutil.rmtree(folder, ignore_errors=True)  # one without its record
                sync_all(result)  # before there is a record of it: a power failure would leave empty files
                record = {"recipe": recipe, "contents": tree_digest(result), "seconds": round(seconds, 1)}
                _record_of(folder).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
                result.rename(folder)
            self._prune(folder.parent)
        self.console.print(f"[dim]{name}: {time.monotonic() - begun:.1f} s[/dim]")
        return folder

    def _folder(self, name: str, recipe: Recipe) -> Path:
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
        return self.root / name / digest

    def _identity(self, path: Path) -> str:
        record = _record(path) if path.parent.parent == self.root else None
        return tree_digest(path) if record is None else str(record["contents"])

    def _last(self, name: str) -> Recipe | None:
        """The recipe of the result of a stage that was used last."""
        for folder in reversed(_results(self.root / name)):
            if (record := _record(folder)) is not None:
                recipe: Recipe = record["recipe"]
                return recipe
        return None

    @staticmethod
    def _prune(folder: Path) -> None:
        for old in _results(folder)[:-KEPT]:
            _delete(old)


def _results(folder: Path) -> list[Path]:
    """All results in a stage's folder, that which was used last at the end."""
    there = folder.iterdir() if folder.is_dir() else ()
    return sorted((p for p in there if not p.name.startswith(".")), key=lambda p: p.stat().st_mtime)


def _record_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.json")


def _record(folder: Path) -> dict[str, Any] | None:
    """What is written down of a result; None where the result or its record is not there."""
    try:
        record: dict[str, Any] = json.loads(_record_of(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if folder.is_dir() else None


def _delete(folder: Path) -> None:
    _record_of(folder).unlink(missing_ok=True)
    shutil.rmtree(folder)


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Say that the disk is full where that is why something failed: libraries say so each in words of its own.

    Raises:
        PrerequisiteError: something was raised, and there is next to no space where `folder` is, or too little.
    """
    try:
        yield
    except Exception as error:
        free = shutil.disk_usage(folder).free
        if isinstance(error, ShelfbridgeError) or (free >= LEAST_FREE and not NO_SPACE.search(str(error))):
            raise
        raise PrerequisiteError(
            f"the disk of {folder} is full, {free / 1e6:.0f} MB are free ({error}); make room there and run the same "
            "command again, or choose another folder"
        ) from error


@contextmanager
def locked(folder: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Be alone in a folder, which is made if it is not there, among all who ask for it so.

    Args:
        waiting: is called where another is in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def unfinished(parent: Path, name: str | None = None, waiting: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """A temporary folder in `parent`, deleted at the end unless it was renamed.

    One process at a time has one, so that what an earlier one left when it was killed can be deleted too: all but the
    checkpoints and logs of one for the same name, which are there again.

    Args:
        name: of what is made; None where nothing of it can be gone on from.
        waiting: is called where another has one.
    """
    with locked(parent, waiting):
        folder = parent / f".unfinished-{name}" if name else Path(tempfile.mkdtemp(prefix=".unfinished-", dir=parent))
        for left in parent.glob(".unfinished-*"):
            if left != folder:
                shutil.rmtree(left)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)  # mkdtemp's 0700 would keep the server's user out
        for left in folder.iterdir():
            if left.name not in (CHECKPOINTS, *NO_RESULT):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        try:
            yield folder
        finally:
            if not (folder / CHECKPOINTS).is_dir():
                shutil.rmtree(folder, ignore_errors=True)


def tree_digest(path: Path) -> str:
    """sha256 over a file, or over the names and contents of a folder's files, but for those in `NO_RESULT`."""
    digest = hashlib.sha256()
    files = (p for p in path.rglob("*") if p.is_file() and not set(NO_RESULT) & set(p.relative_to(path).parts))
    for file in [path] if path.is_file() else sorted(files):
        digest.update(str(file.relative_to(path)).encode())
        digest.update(file_digest(file).encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
