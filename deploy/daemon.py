"""A program that goes on after the one that started it, and is found again by what its run folder says."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from deploy import process
from shelfbridge.errors import ShelfbridgeError

PATIENCE = 5.0
"""Seconds that it gets to end by itself."""


class State(BaseModel):
    """Which process it is."""

    pid: int
    ticks: int


class Daemon:
    """One program of a run folder: `<name>.log` holds its words, `<name>.json` its process."""

    def __init__(self, run_dir: Path, name: str) -> None:
        self.name = name
        self.folder = run_dir
        self.log_file = run_dir / f"{name}.log"
        self._state_file = run_dir / f"{name}.json"
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
    def begun(self) -> bool:
        """Whether it was taken up and not down since, even if it died meanwhile."""
        return self._state_file.exists()

    def words(self) -> str:
        """What it has said."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def up(
        self,
        command: Sequence[str],
        ready: Callable[[], bool],
        cwd: Path,
        patience: float = 10,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start it and return when it is ready; what others must not see of a command goes into `env`.

        Raises:
            ShelfbridgeError: it runs already, ended at once, or was not ready in time.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.pid:
            raise ShelfbridgeError(f"{self.name} runs already from {self.folder}; take it down first")
        with self.log_file.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        state = State(pid=self._process.pid, ticks=process.started(self._process.pid) or 0)
        self._state_file.write_text(state.model_dump_json(), encoding="utf-8")
        deadline = time.monotonic() + patience
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.down()
                said = self.words().strip().splitlines()[-3:]
                raise ShelfbridgeError(f"{self.name} did not start: {' / '.join(said)} (log: {self.log_file})")
            time.sleep(0.02)

    def down(self) -> bool:
        """End it. False if it was not running."""
        pid = self.pid
        if pid:
            process.end(pid, process.started(pid) or 0, PATIENCE)
        if self._process is not None:
            self._process.wait()
            self._process = None
        self._state_file.unlink(missing_ok=True)
        return pid is not None
