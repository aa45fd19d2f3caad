"""A program that goes on after the one that started it, and is found again by what its run folder says."""

import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel

from deploy import ROOT, process
from shelfbridge.errors import ShelfbridgeError

PATIENCE = 5.0
"""Seconds that it gets to end by itself."""
START_PATIENCE = 10.0
"""Seconds that it gets to become ready."""


class Runs(ABC):
    """What is taken up and down. As a context it runs from entry to exit."""

    @abstractmethod
    def up(self) -> None:
        """Start it and return when it is ready."""

    @abstractmethod
    def down(self) -> bool:
        """End it. False if it was not running."""

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *exception: object) -> None:
        self.down()


class State(BaseModel):
    """Which process it is."""

    pid: int
    ticks: int
    """When the process was started, so that another one of the same id is not taken for it."""


class Daemon(Runs):
    """One program of a run folder: `<name>.log` holds its words, `<name>.json` its process.

    Args:
        folder: the run folder.
        name: of the program.
        command: starts it. What others must not see of a command goes into `env`.
        says: words of its log that tell that it is ready.
        env: its environment; that of this program where None.
        cwd: folder in which it works.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        command: Sequence[str] = (),
        *,
        says: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> None:
        self.name, self.folder = name, folder
        self.command, self.says, self.env, self.cwd = command, says, env, cwd
        self.log_file = folder / f"{name}.log"
        self._state_file = folder / f"{name}.json"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process, if it lives."""
        try:
            state = State.model_validate_json(self._state_file.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return state.pid if process.started(state.pid) == state.ticks else None

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self.pid is not None

    @property
    def begun(self) -> bool:
        """Whether it was taken up and not down since, even if it died meanwhile."""
        return self._state_file.exists()

    def ready(self) -> bool:
        """Whether it does what it is for."""
        return self.says in self._log()

    def up(self) -> None:
        """Start it and return when it is ready.

        Raises:
            ShelfbridgeError: it runs already, ended at once, or was not ready in time.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.running:
            raise ShelfbridgeError(f"{self.name} runs already from {self.folder}; take it down first")
        self._process = process.start(self.command, self.log_file, env=self.env, cwd=self.cwd)
        state = State(pid=self._process.pid, ticks=process.started(self._process.pid) or 0)
        self._state_file.write_text(state.model_dump_json(), encoding="utf-8")
        deadline = time.monotonic() + START_PATIENCE
        while not self.ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._end()
                said = self._log().strip().splitlines()[-3:]
                raise ShelfbridgeError(f"{self.name} did not start: {' / '.join(said)} (log: {self.log_file})")
            time.sleep(0.02)

    def down(self) -> bool:
        """End it. False if it was not running."""
        return self._end()

    def _end(self) -> bool:
        pid = self.pid
        if pid:
            process.end(pid, process.started(pid) or 0, PATIENCE)
        if self._process is not None:
            self._process.wait()
            self._process = None
        self._state_file.unlink(missing_ok=True)
        return pid is not None

    def _log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")
