"""Searches from several callers at a time, each sending the next as soon as it has an answer."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event

from shelfbridge.client import SearchClient
from shelfbridge.errors import SearchError


@dataclass
class Tally:
    """What came of them."""

    ended: list[tuple[float, float]] = field(default_factory=list)
    """When each was answered, and after how many seconds."""
    failures: list[SearchError] = field(default_factory=list)

    @property
    def worst(self) -> float:
        return max(took for _, took in self.ended)


@contextmanager
def searches(client: Callable[..., SearchClient], callers: int, **options: object) -> Iterator[Tally]:
    """Searches that go on until the block is left."""
    tally, stop = Tally(), Event()

    def go_on(number: int) -> None:
        with client() as searching:
            for count in range(10**9):
                if stop.is_set():
                    return
                begun = time.monotonic()
                try:
                    searching.search(f"red running shoes {number} {count}", with_payload=False, **options)
                except SearchError as error:
                    tally.failures.append(error)
                else:
                    tally.ended.append((time.monotonic(), time.monotonic() - begun))

    with ThreadPoolExecutor(callers) as pool:
        tasks = [pool.submit(go_on, number) for number in range(callers)]
        try:
            yield tally
        finally:
            stop.set()
    for task in tasks:
        task.result()


def run(client: Callable[..., SearchClient], callers: int, seconds: float, **options: object) -> Tally:
    """Searches for so long."""
    with searches(client, callers, **options) as tally:
        time.sleep(seconds)
    return tally
