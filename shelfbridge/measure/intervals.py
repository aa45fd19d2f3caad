"""How sure a figure is: bootstrapped 95 % intervals, a paired test, and non-inferiority against a stated margin.

All seeds are fixed, so that the same observations always have the same interval.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

RESAMPLES = 2000
PERMUTATIONS = 5000
SEED = 7
ROUNDING = 1e-9
"""Relative range of observations that are all the same."""
BLOCK = 20
"""Requests that are drawn together: a machine is slow for a while, not for one request."""


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval, and the number of independent observations that it is of.

    `f"{interval:+.3f}"` reads "+0.012 [-0.003, +0.027]".
    """

    value: float
    low: float
    high: float
    count: int

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


class Verdict(StrEnum):
    """What an interval says about a loss against a margin."""

    NON_INFERIOR = "non-inferior"
    INFERIOR = "inferior"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class NonInferiority:
    """Whether a difference (new less old, more being better) excludes a loss of more than the margin."""

    difference: Interval
    margin: float

    @property
    def verdict(self) -> Verdict:
        """Non-inferior if the whole interval is above -margin, inferior if it is all below."""
        if self.difference.low >= -self.margin:
            return Verdict.NON_INFERIOR
        return Verdict.INFERIOR if self.difference.high < -self.margin else Verdict.CANNOT_TELL

    def __str__(self) -> str:
        told = f"within {self.margin:g}: {self.difference:+.4f}"
        if self.verdict is Verdict.CANNOT_TELL:
            return f"cannot tell with {self.difference.count} queries ({told})"
        return f"{self.verdict} ({told})"


def mean_interval(values: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """Return the mean of observations with its interval (BCa).

    Args:
        values: observations [N]; NaN is left out.
        groups: whom each observation belongs to [N], such as a user of many baskets; they are drawn together.
    """
    numbers = np.asarray(values, float)
    known = ~np.isnan(numbers)
    owners = np.arange(known.sum()) if groups is None else np.unique(np.asarray(groups)[known], return_inverse=True)[1]
    sums, counts = np.bincount(owners, numbers[known]), np.bincount(owners)
    if not len(sums):
        return Interval(np.nan, np.nan, np.nan, 0)
    mean = float(sums.sum() / counts.sum())
    means = sums / counts
    if len(means) == 1 or np.ptp(means) <= ROUNDING * max(np.abs(means).max(), 1e-3):
        return Interval(mean, mean, mean, len(sums))
    found = stats.bootstrap(
        (sums, counts),
        lambda total, count, axis: total.sum(axis) / count.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, 10_000_000 // len(sums)),
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), len(sums))


def paired_difference(values: ArrayLike, base: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """Return the mean of values less base, both of the same observations in the same order, with its interval."""
    return mean_interval(np.asarray(values, float) - np.asarray(base, float), groups)


def paired_p(values: ArrayLike, base: ArrayLike) -> float:
    """Return how likely a mean difference as great as this is by chance, by a paired permutation test."""
    one, other = np.asarray(values, float), np.asarray(base, float)
    if len(one) < 2 or not np.any(one - other):
        return 1.0
    test = stats.permutation_test(
        (one, other),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        rng=np.random.default_rng(SEED),
    )
    return float(test.pvalue)


def resampled(statistic: Callable[[NDArray[np.intp]], float], count: int, draws: int = RESAMPLES) -> Interval:
    """Return any figure of `count` observations with its interval.

    It is the percentile bootstrap, which also holds where a figure jumps, as quantiles and AUC do.

    Args:
        statistic: the figure of some observations, by their numbers; NaN where these have none.
        count: number of observations.
        draws: number of resamples; fewer for a costly figure.
    """
    everything = np.arange(count)
    chance = np.random.default_rng(SEED)
    found = [statistic(chance.integers(0, count, count)) for _ in range(draws)]
    low, high = np.nanpercentile(found, (2.5, 97.5))
    return Interval(float(statistic(everything)), float(low), float(high), count)


def percentile_difference(base: NDArray[Any], other: NDArray[Any], percentile: float, block: int = BLOCK) -> Interval:
    """Return the other's percentile less the base's.

    The interval is of a paired block bootstrap (Künsch 1989; blocks that do not overlap): requests that stood together
    are drawn together, and of both alike.

    Args:
        base: latencies [N], N at least `block`.
        other: of the same requests in the same order.
        percentile: of 100.
        block: number of requests that are drawn together.
    """
    both = np.stack([base, other])
    blocks = both[:, : len(base) // block * block].reshape(2, -1, block)

    def of(some: NDArray[Any]) -> float:
        first, second = np.percentile(some.reshape(2, -1), percentile, axis=1)
        return float(second - first)

    found = resampled(lambda rows: of(blocks[:, rows]), blocks.shape[1])
    return Interval(of(both), found.low, found.high, found.count)
