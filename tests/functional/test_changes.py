"""Products are added, changed and deleted under load: seen by every process within a second, and no search fails."""

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any
from urllib.request import urlopen

import pytest

from build.change import change
from deploy.embedded import EmbeddedServer, EmbeddedSettings
from shelfbridge.catalogue import Product
from shelfbridge.changes import changes_beside
from shelfbridge.client import SearchClient, SearchResult
from tests.functional.tiny_release import publish_tiny
from tests.unit.redis_server import wait_for

NEW = Product(product_id="new-1", title="black desk lamp zyntrax", category="Light", price=3, stock=1)
SEARCHES = 32
"""Searches at a time, more than there are processes to answer them."""


class Load:
    """Searches by some threads, until it is left; a failed one is raised then."""

    def __init__(self, client: SearchClient, threads: int = 2) -> None:
        self.client, self.stop, self.answered = client, Event(), 0
        self.pool = ThreadPoolExecutor(threads)
        self.running = [self.pool.submit(self._search, number) for number in range(threads)]

    def _search(self, thread: int) -> None:
        number = thread
        while not self.stop.is_set():
            self.client.search(f"black desk lamp zyntrax {number}", k=100, deep=number % 4 == 0)
            self.answered += 1
            number += 2

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.pool.shutdown()
        for one in self.running:
            one.result()


def all_see(client: SearchClient, seen: Callable[[SearchResult], bool]) -> bool:
    """Whether many searches at a time, plain and deep, all have it so."""
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda n: client.search("zyntrax lamp", k=20, deep=n % 2 == 0), range(SEARCHES))
        return all(map(seen, answers))


def seconds_until_all_see(client: SearchClient, seen: Callable[[SearchResult], bool]) -> float:
    """Each process looks for changes by itself, so that for a moment one may know more than another."""
    begun = time.monotonic()
    while True:
        asked = time.monotonic() - begun
        if all_see(client, seen):
            return asked
        assert asked < 10


def price(result: SearchResult) -> object:
    return {hit.product_id: hit.product.get("price") for hit in result.hits}.get("new-1")


@pytest.mark.parametrize("steps", ["together", "apart"])
def test_changes_are_seen_within_a_second_and_no_search_fails(
    steps: str, tmp_path: Path, make_settings: Callable[..., EmbeddedSettings]
) -> None:
    release = publish_tiny(tmp_path)
    changes: tuple[tuple[dict[str, Any], Callable[[SearchResult], bool]], ...] = (
        ({"upsert": [NEW]}, lambda result: price(result) == 3),
        ({"upsert": [NEW.model_copy(update={"price": 4.0})]}, lambda result: price(result) == 4),
        ({"delete": ["new-1"]}, lambda result: price(result) is None),
    )
    with (
        EmbeddedServer(make_settings(release.parent / "current", steps)) as server,
        SearchClient(server.address, timeout=30, retries=0) as client,
        Load(client) as load,
    ):
        assert price(client.search("zyntrax lamp", k=20)) is None
        for made, seen in changes:
            before = load.answered
            change(release.parent / "current", **made)
            assert seconds_until_all_see(client, seen) < 1
            assert load.answered > before


def gauges(server: EmbeddedServer) -> dict[str, set[float]]:
    """What the processes say of the changes that they serve, by the name of the gauge."""
    found: dict[str, set[float]] = {}
    with urlopen(f"http://{server.settings.host}:{server.settings.metrics_port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("shelfbridge_changes_"):
                found.setdefault(line.split("{")[0], set()).add(float(line.split()[-1]))
    return found


def test_an_idle_server_tells_what_it_serves_and_that_newer_changes_are_damaged(
    tmp_path: Path, make_settings: Callable[..., EmbeddedSettings]
) -> None:
    release = publish_tiny(tmp_path)

    def told(generation: int, unreadable: int) -> bool:
        said = {"shelfbridge_changes_generation": {generation}, "shelfbridge_changes_unreadable": {unreadable}}
        return gauges(server) == said

    with EmbeddedServer(make_settings(release.parent / "current")) as server:
        assert told(0, 0)
        change(release, upsert=[NEW])
        wait_for(lambda: told(1, 0))
        change(release, upsert=[NEW.model_copy(update={"price": 4.0})])
        wait_for(lambda: told(2, 0))
        newest = (changes_beside(release) / "current").resolve()
        broken = newest.with_name("3-abc")
        shutil.copytree(newest, broken)
        (broken / "ids.npy").unlink()
        os.replace(link(tmp_path / "link", "3-abc"), changes_beside(release) / "current")
        wait_for(lambda: told(2, 1))
    with EmbeddedServer(make_settings(release.parent / "current")) as server:
        wait_for(lambda: told(2, 1))  # a start, too, serves the newest that is whole
        with SearchClient(server.address, timeout=30) as client:
            assert price(client.search("zyntrax lamp", k=20)) == 4


def link(path: Path, target: str) -> Path:
    path.symlink_to(target)
    return path
