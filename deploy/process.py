"""A detached process that a later program can find again, without mistaking a stranger with its id for it."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def start(
    command: Sequence[str], log: Path, *, env: Mapping[str, str] | None, cwd: Path | None = None
) -> "subprocess.Popen[bytes]":
    """Start a program in a session of its own, its words in a log."""
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def started(pid: int) -> int | None:
    """When a living process was started, in clock ticks since boot; None if there is none, or only its zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def end(pid: int, ticks: int, patience: float) -> bool:
    """Ask a process to end, then end it and the children it left. True if it went by itself."""
    _signal(pid, signal.SIGTERM, group=False)
    deadline = time.monotonic() + patience
    while started(pid) == ticks and time.monotonic() < deadline:
        time.sleep(0.05)
    if started(pid) != ticks:
        return True
    _signal(pid, signal.SIGKILL, group=True)
    while started(pid) == ticks:
        time.sleep(0.05)
    return False


def end_leftovers(folder: Path) -> int:
    """Kill every process whose program lies in a folder, as one does that a killed parent left.

    Returns:
        How many there were.
    """
    found = _programs_of(folder)
    for pid in found:
        _signal(pid, signal.SIGKILL, group=False)
    while _programs_of(folder):
        time.sleep(0.01)
    return len(found)


def _programs_of(folder: Path) -> list[int]:
    """The living; a program that was replaced meanwhile still bears its old path."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's
            if (process / "exe").readlink().is_relative_to(folder.resolve()):
                found.append(int(process.name))
    return found


def _signal(pid: int, number: signal.Signals, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(pid, number)
