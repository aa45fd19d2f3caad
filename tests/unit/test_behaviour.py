"""The chapters of the behaviour report that count, on shops whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_array
from scipy.stats import false_discovery_control, hypergeom

from build.behaviour.glance import decomposed, glance
from build.behaviour.repeats import bought_again, occasions, repeats
from build.behaviour.segments import SEGMENTS, assigned, segments
from build.behaviour.shop import Shop, date, monday, weekday
from build.behaviour.together import ERRORS, grouped, pairs, together
from build.behaviour.trends import MONTHS, peaks, slopes, trends
from build.shelf.interactions import DAY, Interactions
from shelfbridge.errors import DataError

MONDAY = 18_631 * DAY
"""2021-01-04."""


def shop(rows: list[tuple[int, int, float]], price: float = 2.0) -> Shop:
    """From (user, item, day): everything of a user on a day is a basket, all at noon."""
    rows = sorted(rows, key=lambda row: row[2])
    user, item = (np.array(column, np.int32) for column in list(zip(*rows, strict=True))[:2])
    time = np.array([MONDAY + int(day * DAY) + DAY // 2 for _, _, day in rows])
    baskets: dict[tuple[int, int], int] = {}
    number = [baskets.setdefault((u, t), len(baskets)) for u, t in zip(user.tolist(), time.tolist(), strict=True)]
    seen = Interactions(
        user=user,
        item=item,
        time=time,
        basket=np.array(number, np.int32),
        quantity=np.ones(len(rows), np.float32),
        price=np.full(len(rows), price, np.float32),
        users=tuple(f"u{n}" for n in range(user.max() + 1)),
        items=tuple(f"p{n}" for n in range(item.max() + 1)),
        titles=tuple("" for _ in range(item.max() + 1)),
    )
    return Shop(seen)


class TestTables:
    def test_a_product_counts_once_a_basket_and_all_of_it_is_paid(self):
        bought = shop([(0, 0, 0), (0, 0, 0), (0, 1, 0), (1, 1, 1)])
        assert bought.baskets["lines"].tolist() == [2, 1]
        assert bought.baskets["worth"].tolist() == [6, 2]
        assert len(bought.lines) == 3

    def test_no_price_is_worth_nothing(self):
        assert shop([(0, 0, 0)], price=np.nan).baskets["worth"].tolist() == [0]

    @pytest.mark.parametrize(("first", "last", "count"), [(0, 13, 2), (1, 13, 1), (0, 12, 1), (6, 20, 2)])
    def test_weeks_are_whole_from_monday_to_sunday(self, first, last, count):
        whole = shop([(0, 0, first), (0, 0, last)]).whole_weeks
        assert len(whole) == count
        assert all(monday(week) >= date(MONDAY + first * DAY) for week in whole)

    def test_weekdays_begin_with_monday(self):
        assert weekday(np.array([MONDAY, MONDAY + 6 * DAY])).tolist() == [0, 6]


class TestGlance:
    def test_counts_what_is_there(self):
        found = glance(shop([(day % 3, day % 2, day) for day in range(35) if day % 7 != 5]))
        assert (found["users"], found["items"], found["baskets"], found["days"]) == (3, 2, 30, 35)
        assert found["closed"] == ["Saturday"]
        assert found["half_of_baskets"] == {"from": 12, "to": 13}
        assert [row["baskets"] for row in found["weeks"]] == [6] * 5

    def test_a_week_without_a_basket_is_counted_with_its_trend(self):
        found = glance(shop([(day % 3, 0, day) for day in range(70) if day // 7 != 4]))
        empty = found["weeks"][4]
        assert len(found["weeks"]) == 10
        assert (empty["baskets"], empty["revenue"], empty["users"]) == (0, 0, 0)
        assert empty["trend"] > 0

    def test_trend_and_weekday_are_told_apart(self):
        season = np.array([3.0, 1, 0, 0, 0, -2, -2])
        noise = np.random.default_rng(4).normal(0, 0.3, 140)
        trend, found, rest = decomposed(np.linspace(10, 30, 140) + np.tile(season, 20) + noise)
        assert np.allclose(trend, np.linspace(10, 30, 140), atol=0.6)
        assert np.allclose(found.reshape(20, 7).mean(0), season, atol=0.3)
        assert np.corrcoef(rest, noise)[0, 1] > 0.7

    def test_a_few_days_are_refused(self):
        with pytest.raises(DataError, match="whole weeks say too little"):
            glance(shop([(0, 0, 0), (0, 0, 10)]))


class TestSegments:
    def test_each_rule_finds_its_shopper(self):
        people = pd.DataFrame(
            {
                "recency": [5.0, 5, 5, 5, 5, 90, 90, 90],
                "frequency": [9, 4, 2, 1, 2, 9, 2, 1],
                "value": [500.0, 50, 500, 50, 50, 50, 50, 50],
            }
        )
        found = assigned(people, {"active_days": 30, "frequent": 4, "valuable": 100})
        assert found.tolist() == list(range(len(SEGMENTS)))

    def test_planted_regulars_lead_and_movement_counts_everyone_once(self):
        regulars = [(user, item, day) for user in range(10) for day in range(user, 200, 10) for item in (0, 1, 2)]
        strangers = [(10 + n, 3, 2.0 * n) for n in range(90)]
        found = segments(shop([*regulars, *strangers]))
        rows = {row["name"]: row for row in found["segments"]}
        assert rows["Champions"]["users"] == 10
        assert rows["Champions"]["revenue_share"] == pytest.approx(600 / 690)
        assert sum(row["users"] for row in found["segments"]) == 100
        assert sum(row["revenue_share"] for row in found["segments"]) == pytest.approx(1)
        moved = np.array(found["movement"]["counts"])
        assert moved.sum() == 100
        assert moved[0, 0] == 10
        assert moved[:8, 8].sum() == sum(2 * n < 100 for n in range(90))


class TestRepeats:
    def test_waits_run_to_the_next_time_or_to_the_end(self):
        bought = shop([(0, 0, 0), (0, 0, 10), (0, 1, 10), (1, 0, 4)])
        lines = occasions(bought.lines, MONDAY + 20 * DAY + DAY // 2)
        assert lines["again"].tolist() == [False, False, True, False]
        assert lines["wait"].tolist() == [10, 16, 10, 10]
        assert lines["censored"].tolist() == [False, True, True, True]

    def test_an_unfinished_wait_counts_for_as_long_as_it_was_seen(self):
        wait, censored = np.array([1.0, 2, 3, 4]), np.array([False, True, False, True])
        assert bought_again(wait, censored, np.array([0.5, 1, 2.5, 3])).tolist() == [0, 0.25, 0.25, 0.625]

    def test_exponential_waits_are_found_behind_a_short_window(self):
        rng = np.random.default_rng(3)
        wait, seen = rng.exponential(60, 20_000), rng.uniform(0, 100, 20_000)
        share = bought_again(np.minimum(wait, seen), wait > seen, np.array([30.0, 90.0]))
        assert np.allclose(share, 1 - np.exp(-np.array([0.5, 1.5])), atol=0.02)

    def test_shares_are_of_lines_and_the_planted_staple_leads(self):
        staple = [(user, 0, day) for user in range(40) for day in (user, user + 30)]
        others = [(user, 1 + user % 2, user + 1) for user in range(40, 140)]
        found = repeats(shop([*staple, *others]))
        assert found["share"] == pytest.approx(40 / 180)
        assert found["items"][0]["item"] == "p0"
        assert found["items"][0]["share"] == 1
        assert found["users_with_any"] == 1
        assert found["all"]["quartiles"] == [30, 30, 30]


def unrelated(rng: np.random.Generator, count: int = 4000) -> np.ndarray:
    """Baskets of very different size, their products drawn independently [B, 40]."""
    size = rng.choice([0.05, 0.6], (count, 1), p=[0.9, 0.1])
    return rng.random((count, 40)) < size


class TestPairs:
    def test_large_baskets_alone_make_no_pair(self):
        held = unrelated(np.random.default_rng(1)).astype(float)
        assert len(pairs(csc_array(held))[0]) <= 2
        joint, times = held.T @ held, held.sum(0)
        naive = hypergeom.sf(joint - 1, len(held), times[:, None], times[None, :])[np.triu_indices(40, 1)]
        assert (false_discovery_control(naive) <= ERRORS).mean() > 0.9

    def test_a_planted_pair_is_found_with_its_lift(self):
        rng = np.random.default_rng(2)
        held = rng.random((4000, 300)) < 0.05
        held[:, 7] = np.where(held[:, 3], rng.random(4000) < 0.6, held[:, 7])
        found, family = pairs(csc_array(held.astype(float)))
        assert (found["left"].tolist(), found["right"].tolist()) == ([3], [7])
        both, chance = (held[:, 3] & held[:, 7]).sum(), held[:, 3].mean() * held[:, 7].mean() * 4000
        assert 0.7 * both / chance < found["lift"].item() < both / chance
        assert family == 300 * 299 / 2

    def test_one_shopper_who_always_buys_both_is_no_pair_of_the_shop(self):
        odd = [(0, item, day) for day in range(60) for item in (0, 1)]
        rest = [(user, 2 + user % 5, user % 60) for user in range(1, 400)]
        assert together(shop([*odd, *rest]))["pairs"] == []

    def test_groups_are_what_is_linked(self):
        links = [("a", "b", 9.0), ("b", "c", 9.0), ("a", "c", 8.0), ("x", "y", 9.0), ("y", "z", 2.0)]
        assert [set(group) for group in grouped(links)] == [{"a", "b", "c"}, {"x", "y", "z"}]
        assert grouped([("a", "b", 3.0)]) == []
        assert grouped([]) == []


class TestTrends:
    EXPOSURE = np.full(26, 400)

    def test_growth_is_found_and_its_interval_holds_it(self):
        rng = np.random.default_rng(5)
        mean = 20 * np.exp(0.05 * np.arange(26))
        slope, error = slopes(rng.poisson(mean, (500, 26)), self.EXPOSURE)
        assert slope.mean() == pytest.approx(0.05, abs=0.001)
        assert 0.92 < (np.abs(slope - 0.05) < 1.96 * error).mean() < 0.985

    def test_a_growing_shop_lifts_no_product(self):
        exposure = (100 * np.exp(0.06 * np.arange(26))).astype(int)
        slope, _ = slopes(np.tile(exposure // 10, (3, 1)), exposure)
        assert np.allclose(slope, 0, atol=2e-3)

    def test_noisy_weeks_widen_the_interval(self):
        rng = np.random.default_rng(5)
        calm = rng.poisson(20, (200, 26))
        wild = rng.poisson(20 * rng.gamma(2, 0.5, (200, 26)))
        (_, narrow), (_, wide) = (slopes(counts, self.EXPOSURE) for counts in (calm, wild))
        assert np.median(wide) > 2 * np.median(narrow)

    def test_the_season_is_the_planted_one(self):
        month = (np.arange(52) * 12) // 52
        rate = np.where(np.isin(month, (10, 11, 0)), 0.2, 0.05)
        counts = np.random.default_rng(6).binomial(400, rate, (50, 52))
        begin, ratio, error = peaks(counts, np.full(52, 400), month)
        assert {MONTHS[at] for at in begin} == {"Nov"}
        assert np.exp(ratio).mean() == pytest.approx(4, rel=0.05)
        assert 0.85 < (np.abs(ratio - np.log(4)) < 1.96 * error).mean() <= 1

    def test_planted_products_come_up_where_they_belong(self):
        rng = np.random.default_rng(8)
        rows = []
        for week in range(30):
            sells = {0: 0.05 * 1.08**week, 1: 0.4 * 0.92**week, 2: 0.2, 3: 0.3 * (week >= 20), 4: 0.3 * (week < 20)}
            for visit in range(100):
                user, day = week * 100 + visit, 7 * week + visit % 7
                rows += [(user, item, day) for item, rate in sells.items() if rng.random() < rate] + [(user, 5, day)]
        found = trends(shop(rows))
        names = {name: [row["item"] for row in found[name]["items"]] for name in ("rising", "falling", "new", "gone")}
        assert names == {"rising": ["p0"], "falling": ["p1"], "new": ["p3"], "gone": ["p4"]}
        rising = found["rising"]["items"][0]
        assert rising["low"] < 1.08**4 - 1 < rising["high"]
        assert found["seasonal"] is None
