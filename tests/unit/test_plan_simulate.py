"""The simulation against textbook formulas (Kleinrock, Queueing Systems, volume 1), and the gateway's policy in it."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.hybrid.scenarios import Stage
from loadtests.plan.curves import Curves
from loadtests.plan.fleet import ALWAYS_PRIVATE, Fleet
from loadtests.plan.simulate import CAPACITY, simulate
from shelfbridge.errors import DataError

SERVICE_MS = 10.0
STEPS = np.linspace(0, 1, 201)


def kind(service: Any, way: float = 0.0, other: float = 0.0) -> dict[str, Any]:
    quantiles = service if isinstance(service, list) else [service] * 201
    return {"service_ms": quantiles, "way_ms": [way] * 201, "other_ms": [other] * 201}


def curves(service: Any = SERVICE_MS, *, processes: int = 1, way: float = 0.0, restricted: float = 0.0) -> Curves:
    """Two equal sites; the public one is `way` milliseconds further."""
    kinds = {"search": kind(service), "events": kind(1.0)}
    sites = {
        "private": {"processes": processes, "points": [{"rate": 1000, "kinds": kinds}]},
        "public": {"processes": processes, "points": [{"rate": 1000, "kinds": {"search": kind(service, way)}}]},
    }
    mix = {"search": 1 - restricted, "events": restricted} if restricted else {"search": 1.0}
    return Curves.model_validate({"bytes_per_answer": 1000, "mix": mix, "restricted": ["events"], "sites": sites})


def level(rate: float, seconds: float) -> list[Stage]:
    return [Stage.level("level", seconds, rate)]


def exponential() -> list[float]:
    """Quantiles of an exponential distribution; the last one cut where 99.9 % lie below."""
    return (-SERVICE_MS * np.log1p(-np.minimum(STEPS, 0.999))).tolist()


class TestQueues:
    @pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
    def test_fixed_service_times_wait_as_pollaczek_and_khinchine_say(self, load: float) -> None:
        outcome = simulate(curves(), Fleet(1, 0, ALWAYS_PRIVATE), level(100 * load, 40_000 / (100 * load)))
        wait = load * SERVICE_MS / (2 * (1 - load))
        assert np.mean(outcome.took) == pytest.approx(SERVICE_MS + wait, rel=0.05)

    def test_exponential_service_times_have_an_exponential_sojourn(self) -> None:
        given = curves(exponential())
        mean = float(np.interp(np.linspace(0, 1, 100_001), STEPS, exponential()).mean())
        rate = 0.6 / mean * 1000
        outcome = simulate(given, Fleet(1, 0, ALWAYS_PRIVATE), level(rate, 60_000 / rate))
        expected = mean / (1 - 0.6)
        assert np.mean(outcome.took) == pytest.approx(expected, rel=0.07)
        assert outcome.percentile(99) == pytest.approx(-math.log(0.01) * expected, rel=0.12)

    def test_several_processes_wait_less_as_erlang_says(self) -> None:
        given, servers, load = curves(exponential(), processes=3), 3, 0.8
        mean = float(np.interp(np.linspace(0, 1, 100_001), STEPS, exponential()).mean())
        offered, rate = servers * load, servers * load / mean * 1000
        outcome = simulate(given, Fleet(1, 0, ALWAYS_PRIVATE), level(rate, 80_000 / rate))
        last = offered**servers / math.factorial(servers) / (1 - load)
        waits = last / (sum(offered**n / math.factorial(n) for n in range(servers)) + last)
        assert np.mean(outcome.took) == pytest.approx(mean + waits * mean / (servers * (1 - load)), rel=0.08)

    def test_kinds_do_not_wait_for_one_another(self) -> None:
        outcome = simulate(curves(restricted=0.5), Fleet(1, 0, ALWAYS_PRIVATE), level(190, 100))
        assert outcome.percentile(50, "search") > 2 * SERVICE_MS
        assert outcome.percentile(50, "events") == pytest.approx(1.0, rel=0.1)

    def test_service_times_grow_with_the_load(self) -> None:
        points = [{"rate": rate, "kinds": {"search": kind(ms)}} for rate, ms in ((10, 2.0), (110, 4.0))]
        sites = {name: {"processes": 8, "points": points} for name in ("private", "public")}
        given = Curves.model_validate({"bytes_per_answer": 1, "mix": {"search": 1}, "restricted": [], "sites": sites})
        outcome = simulate(given, Fleet(1, 0, ALWAYS_PRIVATE), level(60, 200), warm_up=10)
        assert np.mean(outcome.took) == pytest.approx(3.0, rel=0.05)

    def test_the_same_seed_gives_the_same(self) -> None:
        one, again = (simulate(curves(), Fleet(1, 1, 2), level(120, 20)).took for _ in range(2))
        assert one == again


class TestPolicy:
    def test_nothing_bursts_below_the_threshold(self) -> None:
        outcome = simulate(curves(), Fleet(1, 1, 40), level(50, 100))
        assert outcome.burst_share == 0

    def test_in_flight_on_the_private_site_stay_at_the_threshold(self) -> None:
        outcome = simulate(curves(), Fleet(1, 1, 1), level(150, 100))
        private = [ms for ms in outcome.took if ms <= SERVICE_MS + 0.001]
        assert 0.3 < outcome.burst_share < 0.7
        assert len(private) >= (1 - outcome.burst_share) * len(outcome.took)  # one at a time never waits

    def test_all_that_may_burst_does_at_zero(self) -> None:
        outcome = simulate(curves(restricted=0.5, way=30.0), Fleet(1, 1, 0), level(50, 100))
        assert outcome.burst_share == 1
        assert outcome.percentile(1, "search") > 30
        assert outcome.percentile(99, "events") < 10

    def test_what_is_restricted_never_leaves(self) -> None:
        outcome = simulate(curves(restricted=0.9, way=30.0), Fleet(1, 1, 0), level(200, 50))
        assert outcome.public == outcome.kinds.count("search")
        assert max(ms for ms, of in zip(outcome.took, outcome.kinds, strict=True) if of == "events") < 30

    def test_a_full_site_refuses(self) -> None:
        outcome = simulate(curves(), Fleet(1, 0, ALWAYS_PRIVATE), level(150, 100))
        assert outcome.refused > 0
        assert outcome.percentile(99) == math.inf
        assert max(outcome.took) < (CAPACITY + 1) * SERVICE_MS
        assert len(outcome.took) < 150 * 100 / 2  # it ended early

    def test_two_instances_bear_twice_as_much(self) -> None:
        one = simulate(curves(), Fleet(1, 0, ALWAYS_PRIVATE), level(70, 200)).percentile(95)
        assert simulate(curves(), Fleet(2, 0, ALWAYS_PRIVATE), level(140, 100)).percentile(95) < one

    def test_instances_that_arrive_help_from_then_on(self) -> None:
        fleet = Fleet(1, 1, 0, arriving=1, arriving_at=30.0)
        outcome = simulate(curves(), fleet, level(115, 60), patient=True)
        values = outcome.over_time(99, 10)
        assert values[20.0] > 5 * values[50.0]


class TestCurves:
    def text(self, **changes: Any) -> str:
        return json.dumps({**curves(restricted=0.5).model_dump(), **changes})

    def test_come_back_from_their_file(self, tmp_path: Path) -> None:
        (tmp_path / "curves.json").write_text(self.text())
        assert Curves.read(tmp_path / "curves.json") == curves(restricted=0.5)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"mix": {}}, "mix"),
            ({"mix": {"search": 0.5, "events": 0.3, "new": 0.2}}, "nothing of new"),
            ({"sites": {"private": curves().sites["private"].model_dump()}}, "nothing of the public site"),
        ],
    )
    def test_what_is_missing_is_named(self, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
        (tmp_path / "curves.json").write_text(self.text(**changes))
        with pytest.raises(DataError, match=f"curves.json.*{words}"):
            Curves.read(tmp_path / "curves.json")

    def test_a_missing_file_says_how_to_measure(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"python -m loadtests\.hybrid curves"):
            Curves.read(tmp_path / "curves.json")

    def test_another_share_of_what_is_restricted(self) -> None:
        assert curves(restricted=0.5).shares(0.2) == pytest.approx({"search": 0.8, "events": 0.2})
        assert curves(restricted=0.5).shares(None) == {"search": 0.5, "events": 0.5}
