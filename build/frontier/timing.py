"""What graphs take on this CPU: alone, and with every core busy. All candidates in turn, round after round."""

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from rich.console import Console

from build.evaluation.offline import session
from build.progress import progress

ROUNDS = 5
SECONDS = 1.0
"""Of load in a round, per candidate."""

Feed = Mapping[str, NDArray[Any]]
Name = TypeVar("Name")


def timed(graphs: Mapping[Name, Path], feeds: Sequence[Feed], console: Console) -> dict[Name, dict[str, float]]:
    """Milliseconds of one run alone (p50), and runs per second with one thread per core, by candidate.

    Args:
        graphs: the candidates' files, which take the same inputs; one thread each.
        feeds: inputs of one request each, taken in turn.
        console: for the progress.
    """
    opened = {name: session(path) for name, path in graphs.items()}
    alone = milliseconds([(running, feeds) for running in opened.values()], ROUNDS, console)
    cores = os.cpu_count() or 1
    with progress(console) as bar, ThreadPoolExecutor(cores) as pool:
        loaded = [
            [sum(pool.map(_rate, [(running, feeds)] * cores)) for running in opened.values()]
            for _ in bar.track(range(ROUNDS), description="load")
        ]
    rates = np.median(np.reshape(loaded, (ROUNDS, -1)), axis=0)
    return {
        name: {"ms": float(np.median(alone[:, place])), "per_second": float(rates[place])}
        for place, name in enumerate(opened)
    }


def milliseconds(
    candidates: Sequence[tuple[InferenceSession, Sequence[Feed]]], rounds: int, console: Console
) -> NDArray[np.float64]:
    """Time of single runs, one after another, [rounds, candidates, feeds].

    In each round the candidates take turns; a round that warms up is left out.

    Args:
        candidates: each with its inputs of one request each, as many for all.
        rounds: how often all is measured.
        console: for the progress.
    """
    times = np.zeros((rounds + 1, len(candidates), len(candidates[0][1]) if candidates else 0))
    with progress(console) as bar:
        for number in bar.track(range(rounds + 1), description="timing"):
            for place, (running, feeds) in enumerate(candidates):
                for at, feed in enumerate(feeds):
                    begun = time.perf_counter()
                    running.run(None, dict(feed))
                    times[number, place, at] = time.perf_counter() - begun
    return 1e3 * times[1:]


def _rate(work: tuple[InferenceSession, Sequence[Feed]]) -> float:
    """Runs per second of one thread."""
    running, feeds = work
    begun, count = time.perf_counter(), 0
    while time.perf_counter() < begun + SECONDS:
        running.run(None, dict(feeds[count % len(feeds)]))
        count += 1
    return count / (time.perf_counter() - begun)
