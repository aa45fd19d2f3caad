"""The servers side by side: how each starts, is held still while another is under load, and ends."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.embedded import EmbeddedServer
from loadtests.serving import pid_of
from shelfbridge.errors import PrerequisiteError

START_S = 180.0


class Triton:
    """Shelfbridge, as `python -m deploy.embedded up` starts it.

    It is never held: its processes watch each other by the clock, and it sleeps when it is not asked.
    """

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        self.pid = 0

    def up(self) -> None:
        """Start, and return when all models are ready."""
        self.server.up()
        self.pid = pid_of(self.server)

    def down(self) -> None:
        """End it."""
        self.server.down()

    def hold(self) -> None:
        """Nothing."""

    def release(self) -> None:
        """Nothing."""


@dataclass
class Service:
    """A peer: a process with a port, in an environment of its own."""

    name: str
    command: Sequence[str]
    port: int
    log: Path
    variables: dict[str, str] = field(default_factory=dict)
    pid: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        """Start, and return when it answers.

        Raises:
            PrerequisiteError: its port is taken, it ended, or it did not answer in time.
        """
        if self._taken():
            raise PrerequisiteError(f"{self.name}: port {self.port} is in use; end what uses it or give another --port")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        offline = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                self.command,
                env={**os.environ, **offline, **self.variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid
        deadline = time.monotonic() + START_S
        while self._process.poll() is None and time.monotonic() < deadline:
            if self._answers():
                return
            time.sleep(0.2)
        self.down()
        raise PrerequisiteError(f"{self.name} did not start: {self._last_words()} (log: {self.log})")

    def down(self) -> None:
        """End its process group."""
        if self._process is None:
            return
        for number, patience in ((signal.SIGCONT, 0), (signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            self._signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        self._process = None

    def hold(self) -> None:
        """Stop its processes where they are."""
        self._signal(signal.SIGSTOP)

    def release(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _taken(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2):
            return True
        return False

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2):
            return True
        return False

    def _last_words(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"nothing heard for {START_S:g} s"


@dataclass(frozen=True)
class Contender:
    """A row of the table: a server, and how it is asked.

    environment: name of its requirements. repeats: whether its queries come again as a shop's do (Zipf), so that caches
    may answer.
    """

    name: str
    server: Triton | Service
    caller: dict[str, Any]
    environment: str | None = None
    repeats: bool = False
