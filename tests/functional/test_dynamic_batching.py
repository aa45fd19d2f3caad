"""Queries of different lengths are joined under load, and each gets the answer that it gets alone."""

from concurrent.futures import ThreadPoolExecutor

from tests.functional.conftest import assert_same
from tests.functional.wire import Wire

QUERIES = [" ".join(["red running shoes blue rain jacket 4 corvo"] * times)[: 8 * times] for times in range(1, 25)]


def test_joined_and_unchanged(wire: Wire) -> None:
    alone = [wire.search(query) for query in QUERIES]
    before = {model: wire.counts(model) for model in ("encoder", "ranker")}
    with ThreadPoolExecutor(len(QUERIES)) as pool:
        rounds = [list(pool.map(wire.search, QUERIES)) for _ in range(5)]
    for answers in rounds:
        for found, wanted in zip(answers, alone, strict=True):
            assert_same(found, wanted)
    for model, (answered_before, executed_before) in before.items():
        answered, executed = wire.counts(model)
        assert executed - executed_before < answered - answered_before
