"""Figures, their intervals, and what these say: one definition that all programs share."""

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import RR, R, nDCG
from scipy import stats

from shelfbridge.catalogue import Judgment, Judgments
from shelfbridge.measure.intervals import (
    Interval,
    NonInferiority,
    Verdict,
    mean_interval,
    paired_difference,
    paired_p,
    percentile_difference,
    resampled,
)
from shelfbridge.measure.ranking import GRADES, NDCG, by_place, kendall, ndcg, per_query, recall, reciprocal_rank

RANDOM = np.random.default_rng(3)
LATENCIES = RANDOM.gamma(8, 0.5, 2000)
LABELS = st.sampled_from("ESCI")


class TestRankings:
    @given(st.lists(LABELS, min_size=1, max_size=30), st.lists(LABELS, max_size=30), st.randoms())
    def test_arrays_and_runs_have_the_same_figures(self, listed, missed, chance):
        """The ranking holds the first products in some order; the judgments hold those that it missed, too."""
        label = {f"p{at}": one for at, one in enumerate([*listed, *missed])}
        order = [f"p{at}" for at in range(len(listed))]
        chance.shuffle(order)
        rows = [Judgment(query_id="q", query="q", product_id=pid, label=one, split="dev") for pid, one in label.items()]
        found = per_query({"": {"q": by_place(order)}}, Judgments(tuple(rows)))[""]
        gain = {pid: GRADES[one] / 100 for pid, one in label.items()}
        ours = ndcg(-np.arange(len(order)), [gain[pid] for pid in order], list(gain.values()))
        assert found[NDCG][0] == pytest.approx(ours, abs=1e-6)
        hits = np.array([label[pid] == "E" for pid in order])
        if total := list(label.values()).count("E"):
            assert found["recall@100"][0] == pytest.approx(recall(hits, total, 100))
            assert found["MRR@10"][0] == pytest.approx(reciprocal_rank(hits[:10]))

    @given(st.sets(st.integers(0, 40), min_size=1), st.permutations(range(30)))
    def test_baskets_have_the_figures_of_ir_measures(self, bought, order):
        hits = np.array([item in bought for item in order])
        qrels, run = {"q": {str(item): 1 for item in bought}}, {"q": by_place(map(str, order))}
        expected = {str(one.measure): one.value for one in ir_measures.iter_calc([nDCG @ 20, R @ 20, RR], qrels, run)}
        assert expected["nDCG@20"] == pytest.approx(ndcg(-np.arange(30), hits, np.ones(len(bought)), 20), abs=1e-6)
        assert expected["R@20"] == pytest.approx(recall(hits, len(bought), 20))
        assert expected["RR"] == pytest.approx(reciprocal_rank(hits))

    def test_the_ideal_is_of_all_judged_products(self):
        scores, gains = -np.arange(12.0), np.zeros(12)
        gains[1] = 1.0
        assert ndcg(scores, gains, [1.0]) == pytest.approx(1 / np.log2(3))
        assert ndcg(scores, gains, [1.0, 1.0]) < 1 / np.log2(3)
        assert ndcg(scores, gains, [0.0]) == 0

    def test_tau_is_the_mean_over_lists_that_have_an_order(self):
        assert kendall([([1, 2, 3], [1, 2, 3]), ([1, 2, 3], [3, 2, 1])]) == 0
        assert kendall([([1, 2], [5, 5]), ([1, 2], [1, 2])]) == 0.5
        assert kendall([([1], [1])]) == 1


class TestMeans:
    VALUES = np.random.default_rng(5).normal(0.1, 0.2, 60)

    def test_the_interval_is_scipys(self):
        expected = stats.bootstrap((self.VALUES,), np.mean, n_resamples=2000, rng=np.random.default_rng(7))
        found = mean_interval(self.VALUES)
        assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval))
        assert (found.value, found.count) == (pytest.approx(self.VALUES.mean()), 60)

    def test_it_covers_the_truth_as_often_as_it_says(self):
        """Of 200 samples of a skewed distribution; a correct 95 % interval misses 19 or more by chance in 1 of 300."""
        chance = np.random.default_rng(11)
        samples = chance.exponential(1.0, (200, 60))
        missed = sum(not one.low <= 1.0 <= one.high for one in map(mean_interval, samples))
        assert missed < 25

    def test_observations_of_one_owner_go_together(self):
        owners = np.repeat(np.arange(6), 10)
        together, apart = mean_interval(np.repeat(self.VALUES[:6], 10), owners), mean_interval(self.VALUES)
        assert together.count == 6
        assert (together.low, together.high) == pytest.approx(
            (mean_interval(self.VALUES[:6]).low, mean_interval(self.VALUES[:6]).high)
        )
        assert together.high - together.low > apart.high - apart.low

    def test_pairs_cancel_what_they_share(self):
        base = RANDOM.random(50)
        found = paired_difference(base + 0.25, base)
        assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
        assert paired_p(base + 0.25, base) < 0.01
        assert paired_p(base, base) == 1

    @pytest.mark.parametrize("values", [[0.5], [0.5, 0.5, np.nan]])
    def test_what_does_not_vary_has_no_width(self, values):
        found = mean_interval(values)
        assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)

    def test_nothing_has_no_figure(self):
        assert mean_interval([np.nan]).count == 0

    def test_any_figure_has_an_interval_and_draws_without_it_are_left_out(self):
        values = np.array([0.0] * 30 + [1.0])
        found = resampled(lambda some: float(values[some].max()) if values[some].any() else np.nan, 31)
        assert (found.value, found.low, found.high) == (1, 1, 1)


class TestPercentiles:
    def test_a_constant_delay_is_found_at_each_percentile(self):
        for percentile in (50, 99):
            found = percentile_difference(LATENCIES, LATENCIES + 1.2, percentile)
            assert (found.value, found.low, found.high) == pytest.approx((1.2, 1.2, 1.2))

    def test_a_delay_of_the_few_is_seen_at_p99_alone(self):
        slow = LATENCIES + np.where(np.arange(2000) % 50 == 0, 20.0, 0.0)
        assert percentile_difference(LATENCIES, slow, 50).value < 0.2
        assert percentile_difference(LATENCIES, slow, 99).low > 5

    def test_two_ways_of_the_same_speed_are_not_told_apart(self):
        found = percentile_difference(LATENCIES, RANDOM.gamma(8, 0.5, 2000), 99)
        assert found.low < 0 < found.high

    def test_noise_that_lasts_makes_the_interval_wider(self):
        lasting = np.repeat(RANDOM.gamma(2, 2, 100), 20)
        scattered = RANDOM.permutation(lasting)
        intervals = [percentile_difference(np.zeros(2000), noise, 50) for noise in (lasting, scattered)]
        widths = [one.high - one.low for one in intervals]
        assert widths[0] > 2 * widths[1]


class TestNonInferiority:
    @pytest.mark.parametrize(
        ("low", "high", "verdict"),
        [
            (-0.004, 0.01, Verdict.NON_INFERIOR),
            (-0.004, -0.001, Verdict.NON_INFERIOR),
            (-0.03, -0.006, Verdict.INFERIOR),
            (-0.03, 0.02, Verdict.CANNOT_TELL),
            (-0.03, -0.004, Verdict.CANNOT_TELL),
        ],
    )
    def test_the_whole_interval_decides(self, low, high, verdict):
        assert NonInferiority(Interval((low + high) / 2, low, high, 40), 0.005).verdict is verdict

    def test_too_few_queries_are_told(self):
        few = paired_difference(np.random.default_rng(1).normal(0, 0.1, 22), np.zeros(22))
        assert str(NonInferiority(few, 0.005)).startswith("cannot tell with 22 queries (within 0.005: ")
        many = paired_difference(np.random.default_rng(1).normal(0, 0.01, 2000), np.zeros(2000))
        assert str(NonInferiority(many, 0.005)).startswith("non-inferior (within 0.005: ")
