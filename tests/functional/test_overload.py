"""More requests than the queues hold: the rest is refused at once with UNAVAILABLE, and the server goes on."""

import time

import grpc

from tests.functional.conftest import assert_same
from tests.functional.wire import Wire, answer, query_message

BURST = 1500


def test_refused_early_and_recovered(wire: Wire) -> None:
    alone = wire.search("red running shoes")
    begun = time.monotonic()
    calls = [wire.stub.ModelInfer.future(query_message("red running shoes"), timeout=30) for _ in range(BURST)]
    refused, answered = [], []
    for call in calls:
        error = call.exception()
        (refused if error else answered).append(error or answer(call.result()))
    spent = time.monotonic() - begun
    assert refused
    assert {error.code() for error in refused} == {grpc.StatusCode.UNAVAILABLE}
    assert answered
    for found in answered:
        assert_same(found, alone)
    assert spent < 10
    assert_same(wire.search("red running shoes"), alone)
