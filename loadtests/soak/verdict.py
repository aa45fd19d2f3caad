"""Flat or not: what a server holds at a moment, its trends, and what is allowed of each."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from scipy import stats

from deploy.embedded.wheel import SHARED_MEMORY_FOLDER, shared_memory_prefix
from loadtests.usage import memory, processes

LIMIT_MB = 32.0
"""Growth for 100,000 searches that is still called flat (`python -m loadtests.soak --help` says why)."""
SETTLING = 0.2
"""Share of the run that is left out at its start."""
SLACK = 2
"""Descriptors or threads more at the end than at the start that mean nothing: pools breathe."""


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
    descriptors = threads = shared = 0
    for process, part in processes(pid).items():
        with suppress(psutil.Error, OSError):
            held = memory(process.pid)
            pss[part] = pss.get(part, 0) + held["Pss"]
            dirty[part] = dirty.get(part, 0) + held["Private_Dirty"]
            descriptors += process.num_fds()
            threads += process.num_threads()
    for region in SHARED_MEMORY_FOLDER.glob(f"{shared_memory_prefix(run_dir)}*"):
        with suppress(FileNotFoundError):
            shared += region.stat().st_size
    return Look(searches, time.monotonic(), pss, dirty, descriptors, threads, shared)


@dataclass(frozen=True)
class Trend:
    """MB for 100,000 searches, with its 95 % interval."""

    slope: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """`flat` if there is no complaint."""

    flat: bool
    private: Trend
    """Of private dirty memory, all processes together."""
    pss: Trend
    by_part: dict[str, Trend]
    """Private dirty memory of each part."""
    complaints: list[str] = field(default_factory=list)


def judge(looks: Sequence[Look], wrong: Mapping[str, int], limit: float, died: str = "") -> Verdict:
    """The verdict on a run.

    Args:
        looks: in order.
        wrong: searches that ended otherwise than they should, by what happened.
        limit: MB for 100,000 searches.
        died: how the server ended before its time, if it did.
    """
    start = SETTLING * looks[-1].searches
    settling = [one for one in looks if one.searches <= start] or [looks[0]]
    settled = [one for one in looks if one.searches > start] or [looks[-1]]
    searches = np.array([one.searches for one in settled], float)

    def grows(held: Callable[[Look], int]) -> Trend:
        return trend(searches, np.array([held(one) for one in settled], float))

    def near(name: str, some: Sequence[Look]) -> float:
        return float(np.median([getattr(one, name) for one in some]))

    private = grows(lambda one: sum(one.private_dirty.values()))
    by_part = {name: grows(partial(_of_part, name)) for name in settled[-1].private_dirty}
    complaints = [*([died] if died else []), *(f"{count} x {what}" for what, count in wrong.items())]
    if private.low > limit:
        complaints.append(f"private memory grows by {private.slope:.1f} MB for 100,000 searches")
    elif private.high > limit:
        complaints.append("the trend of private memory is too uncertain to be called flat; give more --searches")
    shared = settled[-1].shared_memory - max(one.shared_memory for one in settling)
    if shared > 0:
        complaints.append(f"/dev/shm grew by {shared:,} bytes")
    tenth = max(1, len(settled) // 10)
    for name in ("descriptors", "threads"):
        first, last = near(name, settled[:tenth]), near(name, settled[-tenth:])
        if last > first + SLACK:
            complaints.append(f"{name} grew from {first:.0f} to {last:.0f}")
    return Verdict(not complaints, private, grows(lambda one: sum(one.pss.values())), by_part, complaints)


def _of_part(part: str, look: Look) -> int:
    return look.private_dirty.get(part, 0)


def trend(searches: NDArray[np.float64], held: NDArray[np.float64]) -> Trend:
    """The line through what was held (bytes) over the searches.

    Memory keeps its level from one look to the next, so the looks are worth fewer independent ones: the interval is
    widened by the autocorrelation of the residuals at lag 1, as for an AR(1) process.
    """
    if np.ptp(held) == 0:
        return Trend(0.0, 0.0, 0.0)
    fit = stats.linregress(searches, held)
    residuals = held - (fit.intercept + fit.slope * searches)
    spread = float(residuals @ residuals)
    again = float(residuals[1:] @ residuals[:-1]) / spread if spread > 0 else 0.0
    again = min(max(again, 0.0), 0.98)
    worth = len(held) * (1 - again) / (1 + again)
    error = fit.stderr * math.sqrt(len(held) / worth)
    half = float(stats.t.ppf(0.975, max(worth - 2, 1))) * error
    scale = 1e5 / 1e6
    return Trend(float(fit.slope) * scale, (float(fit.slope) - half) * scale, (float(fit.slope) + half) * scale)
