"""The plan: cheapest by brute force, held at every peak, and clear where there is none."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest

from loadtests.plan import demand, search
from loadtests.plan.__main__ import main
from loadtests.plan.check import check, fleet
from loadtests.plan.demand import Hour
from loadtests.plan.fleet import ALWAYS_PRIVATE, Fleet, Strategy
from loadtests.plan.prices import Prices, Private, Public
from loadtests.plan.sale import hardest, sale
from loadtests.plan.search import GRID, Planner
from loadtests.program import read_model
from loadtests.slo import Slo
from shelfbridge.errors import DataError, SettingsError
from tests.unit.test_plan_simulate import curves

SLO = Slo("all", "p99", 60.0)
HOURS = [Hour("night", 20, 20), Hour("day", 120, 120), Hour("sale", 120, 260)]
THRESHOLDS = (1, 3)
EXAMPLE = Path(__file__).parents[2] / "loadtests" / "plan" / "example"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulations of fewer requests, and fewer thresholds."""
    monkeypatch.setattr(search, "REQUESTS", 1000)
    monkeypatch.setattr(search, "THRESHOLDS", THRESHOLDS)


def planner(private: float = 3.0, public: float = 4.0, **others: Any) -> Planner:
    cost = Prices(
        private=Private(price_per_hour=private, at_most=3),
        public=Public(price_per_hour=public, at_most=4, price_per_gigabyte=0, arrival_minutes=(0, 0)),
    )
    return Planner(curves(restricted=0.2, way=20.0), cost, others.get("slo", SLO))


class TestSearch:
    def test_the_hybrid_plan_is_the_cheapest_of_all_fleets(self) -> None:
        plans = planner()
        found = plans.plan("hybrid", HOURS)

        def keeps(one: Fleet, hour: Hour) -> bool:
            rates = (GRID ** math.ceil(math.log(rate, GRID)) for rate in (hour.rate, hour.peak))
            return all(plans.predicted(one, rate, None) <= 0.95 * SLO.ms for rate in rates)

        best = math.inf
        for private in range(1, 4):
            fewest = []
            for hour in HOURS:
                fits = [
                    public
                    for public, threshold in itertools.product(range(5), THRESHOLDS)
                    if keeps(Fleet(private, public, private * threshold if public else ALWAYS_PRIVATE), hour)
                ]
                fewest.append(min(fits, default=math.inf))
            best = min(best, sum(3.0 * private + 4.0 * public for public in fewest))
        assert found.cost == pytest.approx(best)

    def test_every_hour_keeps_the_promise_at_its_peak(self) -> None:
        for cell in planner().plan("hybrid", HOURS).cells:
            assert cell.predicted <= SLO.ms

    def test_private_instances_are_as_many_in_every_hour(self) -> None:
        for strategy in ("private", "public", "hybrid"):
            cells = planner().plan(strategy, HOURS).cells
            assert len({cell.fleet.private for cell in cells}) == 1

    def test_dear_public_instances_are_not_taken(self) -> None:
        cells = planner(private=0.01, public=1000.0).plan("hybrid", HOURS).cells
        assert {cell.fleet.public for cell in cells} == {0}

    def test_dear_private_machines_are_few(self) -> None:
        cells = planner(private=1000.0, public=0.01).plan("hybrid", HOURS).cells
        assert {cell.fleet.private for cell in cells} == {1}

    def test_public_only_has_no_search_on_the_private_site(self) -> None:
        cells = planner().plan("public", HOURS).cells
        assert {cell.fleet.burst_above for cell in cells} == {0}
        assert {round(cell.burst_share, 2) for cell in cells} == {1.0}

    def test_new_instances_are_paid_from_their_order(self) -> None:
        plans = planner(private=0.0, public=6.0)
        free = plans.plan("public", HOURS).cost
        plans.prices = plans.prices.model_copy(
            update={"public": plans.prices.public.model_copy(update={"arrival_minutes": (4.0, 10.0)})}
        )
        cells = plans.plan("public", HOURS).cells
        counts = [cell.fleet.public for cell in cells]
        new = sum(max(0, now - before) for now, before in zip(counts, [counts[-1], *counts], strict=False))
        assert plans.plan("public", HOURS).cost == pytest.approx(free + new * 6.0 * 10 / 60)

    def test_what_cannot_be_kept_says_in_which_hour(self) -> None:
        plan = planner(slo=Slo("all", "p99", 5.0)).plan("hybrid", HOURS)
        assert plan.cost == math.inf
        assert "night" in plan.failure

    @pytest.mark.parametrize("strategy", ["private", "public", "hybrid"])
    def test_nothing_is_said_beyond_what_was_measured(self, strategy: Strategy) -> None:
        plan = planner().plan(strategy, [Hour("huge", 9000, 9000)])
        assert "beyond what was measured" in plan.failure

    def test_a_site_is_not_loaded_beyond_what_was_measured_for_want_of_the_other(self) -> None:
        plans = planner(slo=Slo("all", "p99", 5000.0))
        most = sum(count * plans.curves.sites[site].highest for site, count in (("private", 3), ("public", 4)))
        assert (
            "3 private and 4 public instances would be loaded"
            in plans.plan("hybrid", [Hour("much", 1.1 * most, 1.1 * most)]).failure
        )


class TestSale:
    def test_instances_ordered_when_it_begins_come_too_late(self) -> None:
        plans = planner()
        plans.prices = plans.prices.model_copy(
            update={"public": plans.prices.public.model_copy(update={"arrival_minutes": (1.0, 1.0)})}
        )
        cell = hardest(plans.plan("hybrid", HOURS).cells)
        assert cell is not None
        assert cell.hour.name == "sale"
        found = sale(plans, cell)
        assert found["planned"] <= SLO.ms * 1.05
        assert found["reactive"] > SLO.ms

    def test_without_a_peak_there_is_none(self) -> None:
        assert hardest(planner().plan("hybrid", HOURS[:2]).cells) is None


class TestFiles:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("hour,rate\n", "no hour"),
            ("hour\n1\n", "give hour, rate"),
            ("hour,rate,speed\n1,2,3\n", "give hour, rate"),
            ("hour,rate\n1,many\n", "row 2: rate is 'many'"),
            ("hour,rate\n1,5\n2,nan\n", "row 3: rate is 'nan'"),
            ("hour,rate\n1,-5\n", "more than 0"),
            ("hour,rate,peak\n1,5,4\n", "below the rate"),
            ("hour,rate,restricted\n1,5,2\n", "a share"),
        ],
    )
    def test_a_row_that_cannot_be_used_is_named(self, tmp_path: Path, text: str, words: str) -> None:
        (tmp_path / "demand.csv").write_text(text)
        with pytest.raises(DataError, match=rf"demand\.csv.*{words}"):
            demand.read(tmp_path / "demand.csv")

    @pytest.mark.parametrize("text", ["[private", "[private]\nprice_per_hour = -1\n", "speed = 1"])
    def test_prices_that_cannot_be_used_are_named(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "prices.toml").write_text(text)
        with pytest.raises(SettingsError, match=r"prices\.toml"):
            read_model(Prices, tmp_path / "prices.toml", SettingsError, "give another")

    def test_the_examples_can_be_read(self) -> None:
        assert len(demand.read(EXAMPLE / "demand.csv")) == 24
        assert read_model(Prices, EXAMPLE / "prices.toml", SettingsError, "").public.arrival_minutes == (4, 7)


class TestProgram:
    def arguments(self, folder: Path, promise: str) -> list[str]:
        (folder / "demand.csv").write_text("hour,rate,peak\n0,30,\n1,60,90\n")
        (folder / "curves.json").write_text(curves(restricted=0.2, way=20.0).model_dump_json())
        files = {"demand": folder / "demand.csv", "prices": EXAMPLE / "prices.toml", "curves": folder / "curves.json"}
        return [f"--{name}={value}" for name, value in {**files, "slo": promise, "out": folder}.items()]

    def test_writes_a_plan(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(self.arguments(tmp_path, "p99=100ms"))
        found = json.loads((tmp_path / "plan.json").read_text())
        assert [hour["hour"]["name"] for hour in found["hours"]] == ["0", "1"]
        assert set(found["strategies"]) == {"private", "public", "hybrid"}
        assert "keeps p99=100ms at the least cost" in capsys.readouterr().out
        assert (tmp_path / "plan.png").stat().st_size > 10_000

    def test_no_plan_is_an_error_that_says_why(self, tmp_path: Path) -> None:
        with pytest.raises(SystemExit, match=r"p99=1ms cannot be kept \(private: 0.*promise less"):
            main(self.arguments(tmp_path, "p99=1ms"))


class TestCheck:
    def run(self, **changes: Any) -> dict[str, Any]:
        latency = {"p50": 20.0, "p95": 20.0, "p99": 20.0}
        return {
            "name": "a run",
            "rate": 20.0,
            "requests": 1000,
            "mix": {"search": 1.0},
            "mode": "private",
            "policies": {"burst_above": 3},
            "latency": {"all": latency, "search": latency},
            "burst_share": 0.0,
            **changes,
        }

    def test_errors_are_relative_to_what_was_measured(self) -> None:
        found = check(curves(restricted=0.2), self.run())
        errors = {row["percentile"]: row["error"] for row in found["rows"] if row["kind"] == "all"}
        assert errors["p50"] == pytest.approx(-0.5, abs=0.01)

    def test_a_run_beyond_the_curves_is_refused(self) -> None:
        with pytest.raises(DataError, match="1200 answers a second at the private site, and its curve ends at 1000"):
            check(curves(), self.run(rate=1200.0))
        check(curves(), self.run(rate=1200.0, burst_share=0.5, mode="hybrid"))

    @pytest.mark.parametrize(("mode", "one"), [("private", (1, 0)), ("public", (1, 1)), ("hybrid", (1, 1))])
    def test_a_run_is_simulated_in_its_mode(self, mode: str, one: tuple[int, int]) -> None:
        made = fleet(self.run(mode=mode))
        assert (made.private, made.public, made.strategy) == (*one, mode)
        assert made.burst_above == {"private": ALWAYS_PRIVATE, "public": 0, "hybrid": 3}[mode]
