"""How much slower an instance answers the more requests it has: all kinds share its cores.

A service time that is drawn by the average load alone does not know that it is long just when others wait, so that a
simulation that draws it so has too short a tail. Here the dependence is measured, so that the planner can draw it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

LEAST = 30
"""Requests that met so many others, without which their slowdown is not told apart from that of fewer."""


def in_flight(begun_s: ArrayLike, took_ms: ArrayLike) -> NDArray[np.intp]:
    """Return how many others were in flight when each request was sent [N].

    Args:
        begun_s: when each was sent, seconds [N].
        took_ms: until it was answered, milliseconds [N].
    """
    begun = np.asarray(begun_s, float)
    ended = np.sort(begun + np.asarray(took_ms, float) / 1000)
    sent = np.searchsorted(np.sort(begun), begun, side="left")
    return np.asarray(sent - np.searchsorted(ended, begun, side="right"), np.intp)


def slowdown(groups: Sequence[tuple[NDArray[np.intp], NDArray[np.float64]]]) -> list[float]:
    """Return by which factor service is slower, by the number of others that a request met.

    Each group's mean service time is taken out first, so that only what differs within it counts. The factors never
    fall; the last is that of all who met more.

    Args:
        groups: of requests of one kind at one load, how many others each met [N] and its service time [N].
    """
    groups = [(met, service) for met, service in groups if len(met)]
    if not groups:
        return [1.0]
    met = np.concatenate([met for met, _ in groups])
    counts = np.bincount(met)
    most = 0
    while most + 1 < len(counts) and counts[most + 1 :].sum() >= LEAST:
        most += 1
    levels = np.minimum(met, most)
    owner = np.repeat(np.arange(len(groups)), [len(met) for met, _ in groups])
    taken = np.log(np.maximum(np.concatenate([service for _, service in groups]), 1e-3))
    columns = np.column_stack([owner[:, None] == np.arange(len(groups)), levels[:, None] == np.arange(1, most + 1)])
    fitted = np.linalg.lstsq(columns.astype(float), taken, rcond=None)[0][len(groups) :]
    weights = np.bincount(levels, minlength=most + 1).astype(float)
    rising = optimize.isotonic_regression(np.array([0.0, *fitted]), weights=weights).x
    return [float(factor) for factor in np.exp(rising - rising[0])]


def unhindered(service: NDArray[np.float64], met: NDArray[np.intp], factors: Sequence[float]) -> NDArray[np.float64]:
    """Return the service times [N] that requests would have had without the others that they met [N]."""
    alone: NDArray[np.float64] = service / np.asarray(factors)[np.minimum(met, len(factors) - 1)]
    return alone
