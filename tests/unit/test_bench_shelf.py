"""The measuring program of shelves: what it asks, and what it reports."""

import time
from pathlib import Path

import numpy as np
import pytest

from build.shelf.interactions import Interactions
from loadtests.lab.shelf import KINDS, Shoppers, draw, point, text
from loadtests.load import Sample
from shelfbridge.errors import DataError
from shelfbridge.measure.report import picture


def interactions() -> Interactions:
    user, item = np.array([0, 1, 0], np.int32), np.array([0, 1, 2], np.int32)
    return Interactions(
        user=user,
        item=item,
        time=np.array([100, 200, 300], np.int64),
        basket=np.arange(3, dtype=np.int32),
        quantity=np.ones(3, np.float32),
        price=np.ones(3, np.float32),
        users=("ann", "ben"),
        items=("cup", "pot", "gone"),
        titles=("", "", ""),
    )


class TestShoppers:
    def test_the_last_purchase_is_now_and_the_others_as_long_before_it(self) -> None:
        first, second = Shoppers.of(interactions(), {"cup", "pot"}).events
        assert second.time - first.time == pytest.approx(100)
        assert 100 < time.time() - second.time < 110

    def test_what_is_not_sold_is_left_out(self) -> None:
        found = Shoppers.of(interactions(), {"cup", "pot"})
        assert found.products == ("cup", "pot")
        assert found.users == ("ann", "ben")

    def test_another_shops_interactions_are_refused(self) -> None:
        with pytest.raises(DataError, match="no product of the interactions is sold"):
            Shoppers.of(interactions(), {"bed"})


class TestPoint:
    def test_medians_of_the_rounds_and_all_errors(self) -> None:
        samples = [
            Sample(latencies_ms=[one, one], seconds=2.0, server_cpu_s=one / 1000, errors={"Overloaded": 1})
            for one in (1.0, 5.0, 9.0)
        ]
        found = point("search", 4, samples)
        assert {"p50": 5.0, "p99": 5.0, "per_s": 1.0, "cpu": 2.5, "answers": 6, "errors": 3}.items() <= found.items()


class TestReport:
    @pytest.fixture
    def record(self) -> dict[str, object]:
        figures = {"p50": 1.5, "p99": 2.5, "per_s": 100.0, "cpu": 3.0, "answers": 10, "errors": 1}
        points = [{"kind": kind, "clients": clients, **figures} for kind in KINDS for clients in (1, 16)]
        times = {"p50": 3.0, "p95": 4.0, "p99": 5.0, "mean": 3.0}
        return {
            "machine": {"cores": 2, "processor": "a processor"},
            "settings": {"profiles": "sqlite"},
            "events": 30,
            "shoppers": 3,
            "products": 1200,
            "kinds": list(KINDS),
            "points": points,
            "effect": {
                "strangers": 2,
                "from_call": times,
                "from_acknowledged": times,
                "slowest": 5.0,
                "new_products": 9.5,
            },
        }

    def test_every_kind_has_a_row_and_failures_are_said(self, record: dict[str, object]) -> None:
        found = text(record)
        assert all(f"| {kind} | 1.5 | 1.5 | 2.5 | 2.5 | 100 | 100 | 3 | 3 |" in found for kind in KINDS)
        assert "80 answers, 8 failed" in found
        assert "1,200 products, 3 shoppers with 30 events in sqlite" in found

    def test_the_plot_is_drawn(self, record: dict[str, object], tmp_path: Path) -> None:
        picture(tmp_path / "shelf.png", lambda figure: draw(figure, record), (10, 3.2))
        assert (tmp_path / "shelf.png").stat().st_size > 5000
