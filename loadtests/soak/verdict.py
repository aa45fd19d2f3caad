"""Flat or not: trends of what a server holds, and what is allowed of each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from loadtests.soak.looks import Look

LIMIT_MB = 32.0
"""Growth for 100,000 searches that is still called flat (`python -m loadtests.soak --help` says why)."""
SETTLING = 0.2
"""Share of the run that is left out at its start."""
SLACK = 2
"""Descriptors or threads more at the end than at the start that mean nothing: pools breathe."""


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
    private = trend(searches, np.array([sum(one.private_dirty.values()) for one in settled], float))
    parts = settled[-1].private_dirty
    by_part = {
        part: trend(searches, np.array([one.private_dirty.get(part, 0) for one in settled], float)) for part in parts
    }
    complaints = [*([died] if died else []), *(f"{count} x {what}" for what, count in wrong.items())]
    if private.low > limit:
        complaints.append(f"private memory grows by {private.slope:.1f} MB for 100,000 searches")
    elif private.high > limit:
        complaints.append("the trend of private memory is too uncertain to be called flat; give more --searches")
    shared = settled[-1].shared_memory - max(one.shared_memory for one in settling)
    if shared > 0:
        complaints.append(f"/dev/shm grew by {shared:,} bytes")
    for name in ("descriptors", "threads"):
        tenth = max(1, len(settled) // 10)
        first, last = (
            float(np.median([getattr(one, name) for one in some])) for some in (settled[:tenth], settled[-tenth:])
        )
        if last > first + SLACK:
            complaints.append(f"{name} grew from {first:.0f} to {last:.0f}")
    pss = trend(searches, np.array([sum(one.pss.values()) for one in settled], float))
    return Verdict(not complaints, private, pss, by_part, complaints)


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
