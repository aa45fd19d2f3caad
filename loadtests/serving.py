"""A server to be measured, what its processes are, and a load on it: what the measuring programs here share."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from pydantic import ValidationError

from deploy.embedded import EmbeddedServer, EmbeddedSettings
from deploy.embedded.settings import ROOT
from loadtests.bench.load import Load, Sample
from loadtests.bench.queries import QueryStream, words_of
from shelfbridge.catalogue import read_catalogue, read_judgments
from shelfbridge.errors import SettingsError, ShelfbridgeError
from shelfbridge.request import explain

SERVER = "tritonserver"
MOST = 1500
"""Searches a second that a load has queries for."""


class LoadFailed(ShelfbridgeError):
    """The load generator ended without a sample."""


def end_cleanly() -> None:
    """Let a program that is asked to end (SIGTERM) take its server down first, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def embedded(release: Path, run_dir: Path, **settings: Any) -> EmbeddedServer:
    """An embedded server of a release, on free ports, not started yet.

    Args:
        release: folder of the release, or of a copy with other configs.
        run_dir: of its log and state.
        settings: fields of `EmbeddedSettings`.

    Raises:
        SettingsError: the embedded server has no such setting or does not take the value.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        names = ("grpc_port", "http_port", "metrics_port")
        ports = dict(zip(names, (one.getsockname()[1] for one in sockets), strict=True))
    try:
        return EmbeddedServer(EmbeddedSettings(repository=release, run_dir=run_dir, **ports, **settings))
    except ValidationError as error:
        raise SettingsError(f"the embedded server does not take a setting: {explain(error)}; leave it out") from error


def pid_of(server: EmbeddedServer) -> int:
    """Process id of a running embedded server.

    Raises:
        LoadFailed: it does not run any more.
    """
    status = server.status()
    if not status.running or status.state is None:
        raise LoadFailed(f"the server died ({status.crash}); its log is {server.log_file}")
    return status.state.pid


def processes(pid: int) -> dict[psutil.Process, str]:
    """A server's processes that live now, each with its part: "tritonserver", or the model that it runs."""
    root = psutil.Process(pid)
    found = {root: SERVER}
    for process in root.children(recursive=True):
        with suppress(psutil.Error):
            found[process] = part(process.cmdline())
    return found


def part(command: list[str]) -> str:
    """The model that a process of the Python backend runs, by its command line; else the program's name.

    Its first argument is a file `<model>/<version>/model.*` or `<backend>/model.py`.
    """
    if not command:
        return "ended"
    if len(command) < 2 or not Path(command[0]).name.startswith("triton_python_backend_stub"):
        return Path(command[0]).name
    folder = Path(command[1]).parent
    return folder.parent.name if folder.name.isdigit() else folder.name


def cpu_seconds(pid: int) -> dict[str, float]:
    """CPU seconds that a server's processes have used so far, by part; two processes of one model are one part."""
    used: dict[str, float] = {}
    for process, name in processes(pid).items():
        with suppress(psutil.Error):
            times = process.cpu_times()
            used[name] = used.get(name, 0.0) + times.user + times.system
    return used


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """What was added to each figure."""
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


def queries_of(catalogue: Path, judgments: Path) -> Callable[[], QueryStream]:
    """Queries that never repeat: a shop's judged ones, varied by words of its catalogue. Each call begins anew.

    Raises:
        DataError: a file cannot be used.
    """
    shop = read_catalogue(catalogue)
    texts, words = list(read_judgments(judgments, shop).queries.values()), words_of(shop)
    return lambda: QueryStream(texts, words)


def closed(server: EmbeddedServer, stream: QueryStream, clients: int, seconds: float) -> Load:
    """So many clients for so long, each with a new query as soon as it has its answer.

    Raises:
        DataError: the stream has not so many queries left.
    """
    about = {"kind": "shelfbridge", "address": server.address, "deep": False}
    return Load(about, pid_of(server), stream.cold(int(MOST * (seconds + 1))), clients=clients, seconds=seconds)


def put(load: Load) -> Sample:
    """Put a load on a server, from a process of its own, and wait for its sample.

    Raises:
        LoadFailed: the generator failed, or not one search was answered.
    """
    made = subprocess.run(
        [sys.executable, "-m", "loadtests.bench.load"],
        input=json.dumps(asdict(load)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    if made.returncode:
        raise LoadFailed(f"the load generator failed ({made.stderr.strip().splitlines()[-1:]}); is the server up?")
    sample = Sample(**json.loads(made.stdout))
    if not sample.latencies_ms:
        raise LoadFailed(f"no search was answered ({sample.errors or 'none was counted'}); see the server's log")
    return sample


def machine() -> dict[str, Any]:
    """Processor, cores and memory, as a record names them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "processor": model,
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
    }
