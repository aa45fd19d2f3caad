"""What the gateway adds: fair turns, and a report of the differences."""

import numpy as np
import pytest

from loadtests.gateway.__main__ import draw, summary, text
from loadtests.gateway.ways import WAYS, taken
from shelfbridge.errors import ConnectionFailed
from shelfbridge.measure.report import picture

RANDOM = np.random.default_rng(3)
DIRECT = RANDOM.gamma(8, 0.5, 2000)


def test_each_query_goes_by_every_way_before_the_next():
    asked: list[tuple[str, str]] = []
    ways = {name: lambda query, name=name: asked.append((query, name)) for name in "abc"}
    taken(ways, ["1", "2", "3", "4"])
    assert [query for query, _ in asked] == [query for query in "1234" for _ in range(3)]
    assert all({name for query, name in asked if query == one} == set("abc") for one in "1234")


def test_no_way_is_always_the_first():
    first: list[str] = []

    def asking(name: str):
        return lambda query: first.append(name) if len(first) < int(query) else None

    taken({name: asking(name) for name in "ab"}, [str(number) for number in range(1, 41)])
    assert set(first) == {"a", "b"}


def test_a_search_that_fails_ends_the_measurement():
    def broken(query: str) -> None:
        raise ConnectionFailed("no server")

    with pytest.raises(ConnectionFailed):
        taken({"direct": broken}, ["lamp"])


def test_the_report_names_every_way_and_what_it_adds(tmp_path):
    times = {name: DIRECT + place for place, name in enumerate(WAYS)}
    record = {"machine": {"processor": "one", "cores": 2}, "queries": 2000, "ways": summary(times)}
    written = text(record)
    assert all(f"| {name}: " in written for name in WAYS)
    assert f"adds **+{len(WAYS) - 1}.00 ms** at p50" in written
    picture(tmp_path / "gateway.png", lambda figure: draw(figure, times), (11, 4.5))
    assert (tmp_path / "gateway.png").stat().st_size > 1000
