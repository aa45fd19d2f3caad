"""Stages that run once: a stage's result lies in a folder named after everything it was made from.

A stage works in a temporary folder that is renamed when it is complete, so a result is whole or absent, an interrupted
build goes on where it stopped, and going back to earlier settings finds the earlier results. DVC and doit were
considered: both track single files in a store of their own and neither makes a folder appear atomically.
"""

import ast
import fcntl
import hashlib
import inspect
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console

KEPT = 3
"""Results kept per stage; older ones are deleted when a new one appears."""
_PARSING = threading.Lock()
"""Python 3.11's ast.parse takes another thread's recursion for its own (CPython issue 106905)."""
SETTINGS = "build.settings"
"""No code: what a stage needs of it is among what the stage is made from."""


@dataclass(frozen=True)
class Workspace:
    """The folder of all stage results."""

    root: Path
    console: Console

    def stage(self, name: str, work: Callable[[Path], object], **made_from: Any) -> Path:
        """The folder of a stage's result; `work(folder)` fills it unless it is there already.

        Args:
            name: of the stage, shown and used as a folder name.
            work: a function, or a `functools.partial` of one. A change in its module, or in a module of this project
                that it uses, makes the stage run again.
            made_from: what else the result depends on. A path to an earlier stage's folder or to a file counts by its
                content, everything else by its representation.
        """
        function = getattr(work, "func", work)
        recipe = {
            "code": code_digest(inspect.getmodule(function)),
            **{k: self._identity(v) for k, v in made_from.items()},
        }
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
        folder = self.root / name / digest
        if folder.is_dir():
            os.utime(folder)
            self.console.print(f"[dim]{name}: unchanged[/dim]")
            return folder
        self.console.print(f"[bold]{name}[/bold]")
        begun = time.monotonic()
        with unfinished(folder.parent) as result:
            if not folder.is_dir():  # another build may have made it meanwhile
                work(result)
                os.utime(result)
                result.rename(folder)
            self._prune(folder.parent)
        self.console.print(f"[dim]{name}: {time.monotonic() - begun:.1f} s[/dim]")
        return folder

    def _identity(self, value: Any) -> str:
        if not isinstance(value, Path):
            return repr(value)
        if value.parent.parent == self.root:
            return f"{value.parent.name}/{value.name}"
        return tree_digest(value)

    @staticmethod
    def _prune(folder: Path) -> None:
        results = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: p.stat().st_mtime)
        for old in results[:-KEPT]:
            shutil.rmtree(old)


@contextmanager
def unfinished(parent: Path) -> Iterator[Path]:
    """A temporary folder in `parent`, deleted at the end unless it was renamed.

    One process at a time has one, so that what an earlier one left when it was killed can be deleted too.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in parent.glob(".unfinished-*"):
            shutil.rmtree(left)
        folder = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=parent))
        folder.chmod(0o755)  # mkdtemp's 0700 would keep the server's user out
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def tree_digest(path: Path) -> str:
    """sha256 over a file, or over the names and contents of a folder's files, but for Python's caches."""
    digest = hashlib.sha256()
    files = (p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    for file in [path] if path.is_file() else sorted(files):
        digest.update(str(file.relative_to(path)).encode())
        digest.update(file_digest(file).encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_digest(module: ModuleType | None) -> str:
    """sha256 over the source of a module and of the project's modules that it uses."""
    if module is None:
        return ""
    digest = hashlib.sha256()
    for used in sorted(_used(module, set()), key=lambda m: m.__name__):
        digest.update(_source(used))
    return digest.hexdigest()


def _used(module: ModuleType, seen: set[ModuleType]) -> set[ModuleType]:
    if module in seen or module.__name__ == SETTINGS:
        return seen
    seen.add(module)
    for name in _imports(module):
        if name.split(".")[0] in ("build", "shelfbridge") and name in sys.modules:
            _used(sys.modules[name], seen)
    return seen


def _imports(module: ModuleType) -> Iterator[str]:
    """Names that a module imports; of `from a import b` both a and a.b, as b may be a module."""
    with _PARSING:
        tree = ast.parse(_source(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _source(module: ModuleType) -> bytes:
    return Path(str(module.__file__)).read_bytes()
