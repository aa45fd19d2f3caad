"""What visitors do and how many there are: drawn queries, mixes, and the stages of every scenario."""

import random
from collections import Counter
from pathlib import Path

import pytest

from loadtests.hybrid.load import Load
from loadtests.hybrid.scenarios import SCENARIOS, WARM_UP, WARM_UP_S, at, scenario, visitors
from loadtests.hybrid.traffic import MIX, RESTRICTED, Shop, draw, mix_of
from loadtests.program import read_model
from shelfbridge.errors import DataError, SettingsError

SHOP = Shop(queries=[f"query {n}" for n in range(100)], products=["cup", "pot"], shoppers=["ann", "ben", "cem"])


def read_shop(file: Path) -> Shop:
    return read_model(Shop, file, DataError, "write it with python -m loadtests.hybrid shop")


class TestShop:
    def test_queries_come_by_zipfs_law(self) -> None:
        chance = random.Random(1)
        seen = Counter(SHOP.query(chance) for _ in range(50_000))
        total = sum(1 / rank for rank in range(1, 101))
        for place in (0, 1, 9):
            assert seen[f"query {place}"] / 50_000 == pytest.approx(1 / (place + 1) / total, rel=0.1)
        assert len(seen) == 100

    def test_shoppers_are_equally_likely(self) -> None:
        chance = random.Random(1)
        seen = Counter(SHOP.shopper(chance) for _ in range(9000))
        assert min(seen.values()) > 2800

    def test_comes_back_from_its_file(self, tmp_path: Path) -> None:
        (tmp_path / "shop.json").write_text(SHOP.model_dump_json())
        assert read_shop(tmp_path / "shop.json") == SHOP

    @pytest.mark.parametrize("text", ["{}", "no JSON", '{"queries": [], "products": ["a"], "shoppers": ["b"]}'])
    def test_another_file_is_refused_by_its_name(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "shop.json").write_text(text)
        with pytest.raises(DataError, match=r"shop\.json.*python -m loadtests\.hybrid shop"):
            read_shop(tmp_path / "shop.json")

    def test_a_missing_file_too(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="No such file"):
            read_shop(tmp_path / "shop.json")


class TestMix:
    def test_kinds_come_in_their_shares(self) -> None:
        chance = random.Random(3)
        seen = Counter(draw(MIX, chance) for _ in range(20_000))
        assert {kind: seen[kind] / 20_000 for kind in MIX} == pytest.approx(MIX, abs=0.015)

    @pytest.mark.parametrize("share", [0.1, 0.4, 0.9])
    def test_another_share_of_what_is_restricted(self, share: float) -> None:
        mix = mix_of(share)
        assert sum(mix.values()) == pytest.approx(1)
        assert sum(mix[kind] for kind in RESTRICTED) == pytest.approx(share)
        assert mix["recommend"] / mix["events"] == pytest.approx(MIX["recommend"] / MIX["events"])

    def test_nothing_restricted(self) -> None:
        assert mix_of(0.0) == {"search": 1.0}


class TestScenarios:
    @pytest.mark.parametrize("name", SCENARIOS)
    def test_begins_with_a_warm_up_and_is_as_long_as_asked(self, name: str) -> None:
        made = scenario(name, 10, 48)
        assert made.name == name
        assert made.phase(0) == WARM_UP
        assert made.stages[0].end == made.stages[1].begin
        assert made.seconds == pytest.approx(48 + WARM_UP_S)
        assert at(made.stages, made.seconds + 0.01) is None
        if made.fault:
            assert WARM_UP_S < made.fault.at <= made.fault.at + made.fault.seconds < made.seconds

    def test_has_a_length_of_its_own(self) -> None:
        assert scenario("flash_sale", 10).seconds == pytest.approx(28 + WARM_UP_S)

    def test_a_flash_sale_is_ten_times_the_rate_within_two_seconds(self) -> None:
        stages = scenario("flash_sale", 10, 34).stages
        begin = WARM_UP_S + 10
        assert at(stages, begin - 0.01) == ("before", 10)
        assert at(stages, begin + 1) == ("surge", pytest.approx(55))
        assert at(stages, begin + 2.01) == ("sale", 100)
        assert at(stages, 33 + WARM_UP_S) == ("after", 10)

    def test_a_day_has_24_hours_that_follow_each_other(self) -> None:
        hours = scenario("day", 10, 48).stages[1:]
        assert [hour.name for hour in hours] == [f"{hour:02}:00" for hour in range(24)]
        assert all(hour.end == after.begin for hour, after in zip(hours, [*hours[1:], hours[0]], strict=True))

    def test_so_many_visitors_make_a_rate(self) -> None:
        assert visitors(10, 1.5) == 15
        assert visitors(0.1, 1.0) == 1


class TestLoad:
    def test_comes_back_from_its_file(self, tmp_path: Path) -> None:
        load = Load(
            shop=tmp_path / "shop.json", stages=scenario("flash_sale", 10, 34).stages, rows=tmp_path / "rows.jsonl"
        )
        (tmp_path / "load.json").write_text(load.model_dump_json())
        assert read_model(Load, tmp_path / "load.json", SettingsError, "name another") == load

    def test_an_unknown_field_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "load.json").write_text('{"shop": "a", "rows": "b", "stages": [], "speed": 3}')
        with pytest.raises(SettingsError, match="speed"):
            read_model(Load, tmp_path / "load.json", SettingsError, "name another")
