"""Those who only search: what they are answered must not change, whatever goes on beside them."""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from loadtests.fuzz.attack import Way
from loadtests.timing import meanwhile
from shelfbridge.client import SearchClient
from shelfbridge.errors import SearchError

PAUSE_S = 0.02
Answer = tuple[tuple[str, float], ...]
"""Products and their scores, best first."""


@dataclass(frozen=True)
class Wrong:
    """What one of them was not to see."""

    way: Way
    at: float
    """In seconds since 1970."""
    failed: bool
    """Not answered; else answered otherwise than before."""
    words: str


class Others:
    """Searches of a few queries, over and over, by both ways.

    Args:
        clients: by the way that theirs goes; closed by whoever opened them.
        queries: what is answered to them now is held against every later answer.

    Raises:
        SearchError: one is not answered at all.
    """

    def __init__(self, clients: Mapping[Way, SearchClient], queries: Sequence[str]) -> None:
        self._clients, self._queries = clients, queries
        self.latencies: dict[str, list[float]] = {}
        """Milliseconds by way and time."""
        self.wrong: list[Wrong] = []
        self._expected = {query: self._ask("direct", query) for query in queries}

    def _ask(self, way: Way, query: str) -> Answer:
        hits = self._clients[way].search(query, with_payload=False).hits
        return tuple((hit.product_id, hit.score) for hit in hits)

    def check(self, way: Way, query: str, when: str) -> None:
        """Ask, and note what is wrong."""
        since = time.monotonic()
        try:
            answer = self._ask(way, query)
        except SearchError as error:
            self.wrong.append(Wrong(way, time.time(), True, f"{way}, {when}: {query!r} failed: {error}"))
            return
        self.latencies.setdefault(f"{way}, {when}", []).append(1000 * (time.monotonic() - since))
        if answer != self._expected[query]:
            words = f"{way}, {when}: {query!r} was answered otherwise than before"
            self.wrong.append(Wrong(way, time.time(), False, words))

    def all(self, when: str) -> None:
        """Every query once, by both ways."""
        for query, way in itertools.product(self._queries, self._clients):
            self.check(way, query, when)

    def searching(self) -> AbstractContextManager[None]:
        """They search, one query after the other by each way, from entry to exit."""

        def one(way: Way, queries: Iterator[str]) -> None:
            self.check(way, next(queries), "beside attacks")

        return meanwhile(*(partial(one, way, itertools.cycle(self._queries)) for way in self._clients), pause=PAUSE_S)
