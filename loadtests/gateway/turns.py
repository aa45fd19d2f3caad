"""Searches by several ways in turns: what the machine does meanwhile meets all ways alike."""

import gc
import random
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from loadtests.gateway.ways import Ask

Times = NDArray[np.float64]


def taken(
    ways: Mapping[str, Ask], queries: Sequence[str], seed: int = 7, advance: Callable[[], object] = lambda: None
) -> dict[str, Times]:
    """Ask each query by every way before the next, one at a time and in an order drawn anew each time.

    Returns:
        Milliseconds (queries,) by way, as the caller sees them.

    Raises:
        SearchError: a search failed; then nothing is measured.
    """
    chance, order = random.Random(seed), list(ways)
    times = {name: np.empty(len(queries)) for name in ways}
    gc.collect()
    gc.disable()  # else the caller's own pauses are the p99
    try:
        for number, query in enumerate(queries):
            chance.shuffle(order)
            for name in order:
                since = time.perf_counter()
                ways[name](query)
                times[name][number] = 1000 * (time.perf_counter() - since)
            advance()
    finally:
        gc.enable()
    return times
