"""What a server's processes cost: a server is seldom one process."""

from contextlib import suppress
from pathlib import Path

import psutil


def processes(pid: int) -> dict[psutil.Process, str]:
    """A process and its descendants that live now, each with its part; none where it has ended."""
    found: dict[psutil.Process, str] = {}
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
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
    """CPU seconds that a server's processes have used so far, their ended children's included, by part."""
    used: dict[str, float] = {}
    for process, name in processes(pid).items():
        with suppress(psutil.Error):
            used[name] = used.get(name, 0.0) + sum(process.cpu_times()[:4])
    return used


def resident_bytes(pid: int) -> int:
    """Resident memory of a server: its proportional set size, which counts a shared page once in all."""
    total = 0
    for process in processes(pid):
        with suppress(OSError):
            total += memory(process.pid).get("Pss", 0)
    return total


def private_bytes(pid: int) -> int:
    """Memory that a server's processes share with no other and would have to write out: what leaks."""
    total = 0
    for process in processes(pid):
        with suppress(OSError):
            total += memory(process.pid).get("Private_Dirty", 0)
    return total


def memory(pid: int) -> dict[str, int]:
    """Bytes by kind of a process's memory, from the kernel's own sums."""
    rows = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return {row[0].rstrip(":"): int(row[1]) << 10 for row in rows}
