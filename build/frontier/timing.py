"""What a network takes on this CPU: alone, and with every core busy. All candidates in turn, round after round."""

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from build.evaluation.offline import session
from build.progress import progress

ROUNDS = 5
SECONDS = 1.0
"""Of load in a round, per candidate."""

Feed = Mapping[str, NDArray[Any]]


def timed(graphs: Mapping[str, Path], feeds: Sequence[Feed], console: Console) -> dict[str, dict[str, float]]:
    """Milliseconds of one run alone (p50), and runs per second with one thread per core, by candidate.

    Args:
        graphs: the candidates' files, which take the same inputs; one thread each.
        feeds: inputs of one request each, taken in turn.
        console: for the progress.
    """
    cores = os.cpu_count() or 1
    alone: dict[str, list[float]] = {name: [] for name in graphs}
    loaded: dict[str, list[float]] = {name: [] for name in graphs}
    with progress(console) as bar, ThreadPoolExecutor(cores) as pool:
        task = bar.add_task("timing", total=ROUNDS * len(graphs))
        opened = {name: session(path) for name, path in graphs.items()}
        for _ in range(ROUNDS):
            for name, running in opened.items():
                running.run(None, dict(feeds[0]))
                for feed in feeds:
                    begun = time.perf_counter()
                    running.run(None, dict(feed))
                    alone[name].append((time.perf_counter() - begun) * 1e3)
                loaded[name].append(sum(pool.map(_rate, [(running, feeds)] * cores)))
                bar.advance(task)
    return {
        name: {"ms": float(np.median(alone[name])), "per_second": float(np.median(loaded[name]))} for name in graphs
    }


def _rate(work: tuple[Any, Sequence[Feed]]) -> float:
    """Runs per second of one thread."""
    running, feeds = work
    begun, count = time.perf_counter(), 0
    while time.perf_counter() < begun + SECONDS:
        running.run(None, dict(feeds[count % len(feeds)]))
        count += 1
    return count / (time.perf_counter() - begun)
