"""Queries of different lengths that come together each get the answer that they get alone."""

from concurrent.futures import ThreadPoolExecutor

from tests.functional.conftest import assert_same
from tests.functional.wire import Wire

QUERIES = [" ".join(["red running shoes blue rain jacket 4 corvo"] * times)[: 8 * times] for times in range(1, 25)]


def test_unchanged_among_others(wire: Wire) -> None:
    alone = [wire.search(query) for query in QUERIES]
    with ThreadPoolExecutor(len(QUERIES)) as pool:
        rounds = [list(pool.map(wire.search, QUERIES)) for _ in range(5)]
    for answers in rounds:
        for found, wanted in zip(answers, alone, strict=True):
            assert_same(found, wanted)
