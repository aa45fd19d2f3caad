"""What the servers hold while they are attacked, and whether they are still the same processes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import psutil

from loadtests.usage import memory, processes

GROWTH_MB = 16.0
"""Private memory that a server may hold more at the end of the attacks than when it had settled: what a few requests of
megabytes leave in the allocators of some ten processes. A leak of a kilobyte a request would be 5 MB in 5,000."""
SETTLED = 0.3
"""Share of the attacks after which it has: caches and pools are full."""
ENDS = 3
"""Looks whose median counts, at either end."""


def alive(pids: Mapping[str, int]) -> dict[str, set[tuple[int, float]]]:
    """Processes of each server by id and start: what was started anew differs."""
    return {name: {(each.pid, each.create_time()) for each in processes(pid)} for name, pid in pids.items()}


def look(pids: Mapping[str, int]) -> dict[str, float]:
    """Private memory of each server, in megabytes."""
    held = {}
    for name, pid in pids.items():
        total = 0
        for process in processes(pid):
            try:
                total += memory(process.pid)["Private_Dirty"]
            except (psutil.Error, OSError):
                continue
        held[name] = total / 1e6
    return held


def growth(looks: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Megabytes by which each server grew after it had settled."""
    settled = looks[int(SETTLED * len(looks)) :]
    return {
        name: float(
            np.median([one["memory"][name] for one in settled[-ENDS:]])
            - np.median([one["memory"][name] for one in settled[:ENDS]])
        )
        for name in looks[0]["memory"]
    }
