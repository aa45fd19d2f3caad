"""What a call takes, and what goes on beside a measurement."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import ArrayLike


def milliseconds(call: Callable[[], object]) -> float:
    """Return the milliseconds of a call."""
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1e3


def percentiles(values: ArrayLike, *percents: float) -> dict[str, float]:
    """Return percentiles by name ("p50" for 50); if none is named p50, p95, p99 and the mean."""
    numbers, wanted = np.asarray(values, float), percents or (50, 95, 99)
    found = {f"p{percent:g}": float(np.percentile(numbers, percent)) for percent in wanted}
    return found if percents else {**found, "mean": float(numbers.mean())}


@contextmanager
def meanwhile(*works: Callable[[], object], pause: float) -> Iterator[None]:
    """Do each work again and again in a thread of its own, with a pause of some seconds before it, until the end."""
    ended = threading.Event()

    def go_on(work: Callable[[], object]) -> None:
        while not ended.wait(pause):
            work()

    threads = [threading.Thread(target=go_on, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
