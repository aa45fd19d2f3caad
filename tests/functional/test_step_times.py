"""The answer says where its time went, step by step, and claims no more than the caller saw."""

import time

import pytest

from shelfbridge.contract import STEPS
from tests.functional.wire import Wire, any_message


@pytest.mark.parametrize("model", STEPS)
def test_sum_is_less_than_the_round_trip(wire: Wire, model: str) -> None:
    for number in range(20):
        begun = time.perf_counter()
        found = wire.send(any_message(model, f"red running shoes {number}"))
        round_trip = (time.perf_counter() - begun) * 1e3
        assert len(found.step_times) == len(STEPS[model])
        assert all(spent > 0 for spent in found.step_times)
        assert sum(found.step_times) < round_trip
