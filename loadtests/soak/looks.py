"""What a server holds at a moment: memory of its processes, descriptors, threads, shared memory."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from deploy.embedded.wheel import SHARED_MEMORY_FOLDER, shared_memory_prefix
from loadtests.usage import memory, processes


@dataclass(frozen=True)
class Look:
    """A server after so many searches. Memory is in bytes, by part (`loadtests.usage.part`)."""

    searches: int
    seconds: float
    """Of the monotonic clock."""
    pss: dict[str, int]
    """Proportional set size: a page shared by n processes counts 1/n in each."""
    private_dirty: dict[str, int]
    """What only this process has and would have to be written out: what leaks."""
    descriptors: int
    threads: int
    shared_memory: int
    """Size of the server's regions in /dev/shm."""


def look(pid: int, run_dir: Path, searches: int) -> Look:
    """Look at an embedded server; one that has ended has no parts."""
    pss: dict[str, int] = {}
    dirty: dict[str, int] = {}
    descriptors = threads = 0
    for process, part in processes(pid).items():
        with suppress(psutil.Error, OSError):
            held = memory(process.pid)
            pss[part] = pss.get(part, 0) + held["Pss"]
            dirty[part] = dirty.get(part, 0) + held["Private_Dirty"]
            descriptors += process.num_fds()
            threads += process.num_threads()
    return Look(searches, time.monotonic(), pss, dirty, descriptors, threads, shared_bytes(run_dir))


def shared_bytes(run_dir: Path) -> int:
    """Size of the regions in /dev/shm of the server that runs from a folder."""
    total = 0
    for region in SHARED_MEMORY_FOLDER.glob(f"{shared_memory_prefix(run_dir)}*"):
        with suppress(FileNotFoundError):
            total += region.stat().st_size
    return total
