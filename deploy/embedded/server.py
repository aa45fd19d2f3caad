"""The life of an embedded server: a detached tritonserver whose run folder holds its log and state."""

import fcntl
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy import daemon, keeper, prerequisites, process, repository
from deploy.daemon import Daemon, Runs
from deploy.embedded import log, wheel
from deploy.embedded.settings import EmbeddedSettings
from deploy.security import signing
from shelfbridge.errors import PrerequisiteError, ShelfbridgeError
from shelfbridge.profiles import load_or_make_key, open_store

RUN_DISK = prerequisites.GIGABYTE // 4


class ServerError(ShelfbridgeError):
    """The server did not start, or runs already."""


class State(daemon.State):
    """What `up` leaves behind for the other commands."""

    since: float
    settings: EmbeddedSettings
    ready: float | None = None
    """When all its models were, in seconds since 1970."""
    deaths: int = 0
    """How often it was found dead and started again since it was taken up."""


@dataclass(frozen=True)
class Status:
    """What a server is doing."""

    running: bool
    ready: bool = False
    state: State | None = None
    models: tuple[tuple[str, str, str], ...] = ()
    """Name, version and state of each model."""
    crash: str = ""
    """Why it died, if it did and nobody took it down."""
    kept: bool = False
    """Whether it is started again when it dies."""


class EmbeddedServer(Runs):
    """A tritonserver on this machine."""

    def __init__(self, settings: EmbeddedSettings) -> None:
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper = Daemon(settings.run_dir, "keeper", says=keeper.KEEPS)

    @property
    def address(self) -> str:
        """Where gRPC is answered."""
        return f"{self.settings.host}:{self.settings.grpc_port}"

    @property
    def log_file(self) -> Path:
        """The server's own words."""
        return self.settings.run_dir / "server.log"

    @property
    def keeper_log(self) -> Path:
        """When it died and was started again."""
        return self._keeper.log_file

    @property
    def _state_file(self) -> Path:
        return self.settings.run_dir / "state.json"

    @property
    def _backends(self) -> Path:
        return self.settings.run_dir.resolve() / "backends"

    @property
    def state(self) -> State | None:
        """What it was started as, if it lives."""
        state = self._state()
        return state if state is not None and process.started(state.pid) == state.ticks else None

    def up(self, *, kept: bool = False) -> None:
        """Start the server and return when all its models are ready.

        Args:
            kept: have a program beside it start it again whenever it dies, until `down`.

        Raises:
            PrerequisiteError: this machine or the repository lacks something.
            SettingsError: the address or the key of profiles cannot be used.
            ArtefactError: the release is not what the holder of the release key signed.
            ServerError: it runs already, or a model could not be loaded.
        """
        self.settings.run_dir.mkdir(parents=True, exist_ok=True)
        # What `current` names now is served until `down`: a start after a crash must not take up another release
        self.settings = self.settings.model_copy(update={"repository": self.settings.repository.resolve()})
        with self._locked():
            self._check()
            if kept:
                self._keeper.down()
            self._clear()
            wheel.make_backends(self.settings, self._backends)
            try:
                self._start()
                self._wait()
                if kept:
                    self._keep()
            except BaseException:
                if self._process is not None:
                    self._process.terminate()
                self._end()
                raise

    def down(self) -> bool:
        """Let the requests in flight finish, then end the server. False if it was not running."""
        self._keeper.down()
        return self._end()

    def _end(self) -> bool:
        state = self.state
        if state is not None:
            process.end(state.pid, state.ticks, state.settings.exit_timeout + 5)
        if self._process is not None:
            self._process.wait()
            self._process = None
        self._state_file.unlink(missing_ok=True)
        self._clear()
        return state is not None

    def status(self) -> Status:
        """What the server in the run folder is doing, by the ports it was started with."""
        state, kept = self._state(), self._keeper.running
        if state is None:
            return Status(running=False, kept=kept)
        if self.state is None:
            return Status(running=False, state=state, crash=log.reason(self.log_file), kept=kept)
        ready = _call(state.settings, "GET", "/v2/health/ready") is not None
        models = json.loads(_call(state.settings, "POST", "/v2/repository/index") or b"[]")
        rows = tuple((m["name"], m.get("version", "-"), m.get("state", "UNAVAILABLE")) for m in models)
        return Status(running=True, ready=ready, state=state, models=rows, kept=kept)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One `up` at a time in a run folder."""
        with (self.settings.run_dir / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ServerError(f"another start is under way in {self.settings.run_dir}; wait for it") from None
            yield

    def _clear(self) -> None:
        """End the Python processes of a server that was killed, and remove what it left in /dev/shm."""
        process.end_leftovers(self._backends)
        wheel.remove_shared_memory(self.settings.run_dir)

    def _check(self) -> None:
        settings, state = self.settings, self.state
        if state is not None:
            raise ServerError(
                f"a server runs already from {settings.run_dir} (process {state.pid}, gRPC port "
                f"{state.settings.grpc_port}); take it down first, or give this one another --run-dir and ports"
            )
        if not any(settings.repository.glob("*/config.pbtxt")):
            raise PrerequisiteError(f"{settings.repository} holds no model; build a release, or give --repository")
        if settings.release_key:
            signing.remove_bytecode(settings.repository)
            signing.verify(settings.repository, settings.release_key)
        open_store(settings.store).close()  # in words now, else in each answer
        if settings.key.exists():
            load_or_make_key(settings.key)
        problems = prerequisites.found(
            [
                prerequisites.check_platform(),
                prerequisites.check_python(),
                prerequisites.check_libpython(),
                prerequisites.check_packages(),
                prerequisites.check_shared_memory(),
                prerequisites.check_disk(str(settings.run_dir), RUN_DISK),
                prerequisites.check_ports(settings.host, settings.ports),
            ]
        )
        if problems:
            raise PrerequisiteError("\n".join(problems))

    def _start(self) -> None:
        models = repository.write(
            self.settings.repository, self.settings.run_dir.resolve() / "models", self.settings.serving
        )
        if self.log_file.exists():
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        command = wheel.command(self.settings, models, self._backends)
        self._process = process.start(command, self.log_file, env=wheel.environment(self.settings))
        ticks, died = process.started(self._process.pid) or 0, self._state()
        state = State(pid=self._process.pid, ticks=ticks, since=time.time(), settings=self.settings)
        self._write(state.model_copy(update={"deaths": died.deaths + 1}) if died else state)

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self.settings.start_timeout
        while _call(self.settings, "GET", "/v2/health/ready") is None:
            if self._process.poll() is not None:
                raise ServerError(f"the server did not start: {log.reason(self.log_file)} (log: {self.log_file})")
            if time.monotonic() > deadline:
                raise ServerError(
                    f"the server was not ready after {self.settings.start_timeout:g} s; see {self.log_file}, "
                    f"or give it longer (--start-timeout)"
                )
            time.sleep(0.1)
        if state := self._state():
            self._write(state.model_copy(update={"ready": time.time()}))

    def _keep(self) -> None:
        again = [sys.executable, "-m", "deploy.embedded", "up", "--once", *self.settings.flags()]
        self._keeper.command = [sys.executable, "-m", "deploy.keeper", str(self._state_file), *again]
        self._keeper.env = self.settings.environment()
        self._keeper.up()

    def _write(self, state: State) -> None:
        whole = self._state_file.with_suffix(".new")
        whole.write_text(state.model_dump_json(), encoding="utf-8")
        whole.replace(self._state_file)

    def _state(self) -> State | None:
        try:
            return State.model_validate_json(self._state_file.read_bytes())
        except (FileNotFoundError, ValueError):
            return None


def _call(settings: EmbeddedSettings, method: str, path: str) -> bytes | None:
    """The body of a good answer over HTTP, else None."""
    host = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host
    connection = http.client.HTTPConnection(host, settings.http_port, timeout=5)
    try:
        connection.request(method, path)
        answer: Any = connection.getresponse()
        body: bytes = answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body if answer.status == 200 else None
