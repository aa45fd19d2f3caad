"""What its caller will no longer wait for is not worked on, by the deadline that was sent with it."""

import grpc
import pytest

from tests.functional.wire import Wire, query_message

BUSY = 300
"""Searches that wait for the processes."""


@pytest.mark.parametrize("model", ["search", "search_deep"])
def test_a_deadline_that_cannot_be_kept_is_told_at_once(wire: Wire, model: str) -> None:
    calls = [wire.stub.ModelInfer.future(query_message(f"lamp {n}"), timeout=60) for n in range(BUSY)]
    refused = 0
    for number in range(BUSY):
        hurried = query_message(f"mug {number}", model=model)
        hurried.parameters["timeout"].int64_param = 1  # microseconds
        calls.append(wire.stub.ModelInfer.future(hurried, timeout=60))
    for call in calls[BUSY:]:
        error = call.exception()
        if error is not None:
            assert error.code() == grpc.StatusCode.UNAVAILABLE
            assert "overloaded" in error.details()
            refused += "and this one has 0" in error.details()
    for call in calls[:BUSY]:
        call.exception()
    assert refused
    assert wire.search("red running shoes").ids
