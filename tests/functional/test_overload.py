"""More requests than the queues hold: the rest is refused at once with UNAVAILABLE, and the server goes on."""

import json
import time

import grpc

from tests.functional.conftest import assert_same
from tests.functional.wire import Wire, answer, message, packed, query_message

BURST = 1500


def test_refused_early_and_recovered(wire: Wire) -> None:
    asked = [f"shoes for running {number}" for number in range(BURST)]  # all different: none is answered from a cache
    messages = [query_message(query) for query in asked]
    begun = time.monotonic()
    calls = [wire.stub.ModelInfer.future(one, timeout=30) for one in messages]
    refused, answered = [], []
    for query, call in zip(asked, calls, strict=True):
        error = call.exception()
        (refused if error else answered).append(error or (query, answer(call.result())))
    spent = time.monotonic() - begun
    assert refused
    assert {error.code() for error in refused} == {grpc.StatusCode.UNAVAILABLE}
    assert answered
    for query, found in answered[:20]:
        assert_same(found, wire.search(query))
    assert spent < 10


def test_who_asks_for_something_else_is_not_refused(wire: Wire) -> None:
    """Events and shelves have queues of their own where steps are apart; events do so together, too."""
    calls = [
        wire.stub.ModelInfer.future(query_message(f"lamp {number}", model="search_deep"), timeout=60)
        for number in range(400)
    ]
    kept = 0
    for number in range(100):
        event = {"event_id": f"e{number}", "user": "u1", "kind": "view", "product_id": "p", "time": int(time.time())}
        sent = message("events", ("events", "BYTES", [1], packed(json.dumps(event).encode())))
        response = wire.stub.ModelInfer(sent, timeout=30)
        kept += response.raw_output_contents[0] == b"\x01"
    assert kept == 100
    for call in calls:
        call.exception()
