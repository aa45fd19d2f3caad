"""What the gateway adds, from the times of both ways."""

from pathlib import Path

import numpy as np
import pytest

from loadtests.gateway import WARM_UP, draw, measure, overhead, text


class Clock:
    """A client whose searches are noted."""

    def __init__(self, name: str, asked: list[tuple[str, str]]) -> None:
        self.name, self.asked = name, asked

    def search(self, query: str) -> None:
        self.asked.append((self.name, query))


class Bar:
    def add_task(self, *_: object, **__: object) -> int:
        return 0

    def advance(self, _: int) -> None:
        pass


def test_both_ways_ask_the_same_and_begin_by_turns() -> None:
    asked: list[tuple[str, str]] = []
    queries = [f"q{n}" for n in range(WARM_UP + 2)]
    times = measure(Clock("direct", asked), Clock("through", asked), queries, Bar())  # type: ignore[arg-type]
    assert times.shape == (2, 2)
    assert asked[:4] == [("through", "q0"), ("direct", "q0"), ("direct", "q1"), ("through", "q1")]


def test_what_is_added_is_the_difference_of_the_percentiles() -> None:
    direct = np.random.default_rng(1).lognormal(2, 0.3, 3000)
    found = overhead(np.stack([direct, direct + 1.5], axis=1))
    for percentile in ("p50", "p90", "p99"):
        assert found[percentile]["added"] == pytest.approx(1.5)
        assert found[percentile]["low"] == pytest.approx(1.5)


def test_the_report_shows_intervals(tmp_path: Path) -> None:
    times = np.random.default_rng(1).lognormal(2, 0.3, (1000, 2))
    found = {"machine": {"cores": 2, "processor": "one"}, "searches": 1000, "percentiles": overhead(times)}
    assert "| p99 |" in text(found)
    assert "[-" in text(found)
    draw(tmp_path / "gateway.png", times)
    assert (tmp_path / "gateway.png").stat().st_size > 5000
