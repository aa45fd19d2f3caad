"""One clock, one way to take percentiles, and threads beside a measurement that end with it."""

import threading
import time

import pytest

from loadtests.timing import meanwhile, milliseconds, percentiles


def test_a_call_takes_what_it_takes():
    assert 10 <= milliseconds(lambda: time.sleep(0.01)) < 10_000


def test_percentiles_have_names():
    assert percentiles(range(101), 50, 99.9) == {"p50": 50.0, "p99.9": pytest.approx(99.9)}
    assert percentiles([1.0, 3.0]).keys() == {"p50", "p95", "p99", "mean"}


def test_each_work_goes_on_until_the_end_whatever_ends_it():
    done: list[str] = []
    before = threading.active_count()

    def measure() -> None:
        with meanwhile(lambda: done.append("a"), lambda: done.append("b"), pause=0.01):
            while not (done.count("a") > 1 and done.count("b") > 1):
                time.sleep(0.001)
            raise ValueError("over")

    with pytest.raises(ValueError, match="over"):
        measure()
    assert threading.active_count() == before
