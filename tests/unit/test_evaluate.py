"""Figures of rankings: measured, compared, and written down."""

import io
from math import log2

import numpy as np
import pytest
from rich.console import Console

from build.evaluate import compare, measure
from shelfbridge.catalogue import Judgment, Judgments

QUIET = Console(file=io.StringIO())
FIGURE = {"mean": 0.5, "low": 0.4, "high": 0.61, "over_lexical": 0.1, "p": 0.032}
RECORD = {
    "split": "test",
    "queries": 12,
    "products": 34567,
    "stages": {
        stage: {"nDCG@10": FIGURE, "MRR@10": {"mean": 0.7}, "recall@100": {"mean": 0.81234}}
        for stage in ("lexical", "ranked")
    },
}


def judged(**labels: str) -> list[Judgment]:
    """Judgments of products by query: q1="aE bS" says that a is exact and b a substitute."""
    return [
        Judgment(query_id=query, query=f"text of {query}", product_id=pair[0], label=pair[1], split="dev")
        for query, pairs in labels.items()
        for pair in pairs.split()
    ]


def ranked(ids: str) -> dict[str, float]:
    return {product_id: -float(place) for place, product_id in enumerate(ids)}


class TestMeasuring:
    def value(self, name: str, labels: str, ranking: str) -> float:
        figures = measure({"lexical": {"q": ranked(ranking)}}, Judgments(tuple(judged(q=labels))))
        return figures["lexical"][name].mean

    @pytest.mark.parametrize(
        ("labels", "ranking", "expected"),
        [
            ("aE bS cC dI", "abcd", 1.0),
            ("aE bS cC dI", "bazc", (0.1 + 1 / log2(3) + 0.01 / log2(5)) / (1 + 0.1 / log2(3) + 0.01 / log2(4))),
            ("aE bS cC dI", "dc", 0.01 / log2(3) / (1 + 0.1 / log2(3) + 0.01 / log2(4))),
            ("aE", "zzz", 0.0),
            ("aE", "0123456789a", 0.0),
            ("aE", "012345678a", 1 / log2(11)),
            ("aI", "a", 0.0),
        ],
    )
    def test_ndcg_uses_the_data_sets_gains(self, labels, ranking, expected):
        assert self.value("nDCG@10", labels, ranking) == pytest.approx(expected, abs=1e-6)

    def test_only_exact_products_count_for_mrr_and_recall(self):
        assert self.value("MRR@10", "aE bS cE", "bac") == pytest.approx(1 / 2)
        assert self.value("recall@100", "aE bS cE", "ba") == pytest.approx(1 / 2)

    def test_a_query_without_an_answer_counts_as_nought(self):
        judgments = Judgments(tuple(judged(q1="aE", q2="aE", q3="aE")))
        figures = measure({"lexical": {"q1": ranked("a"), "q2": {}}}, judgments)
        assert figures["lexical"]["nDCG@10"].mean == pytest.approx(1 / 3)

    def test_stages_are_compared_with_bm25(self):
        judgments = Judgments(tuple(judged(q1="aE", q2="aE")))
        runs = {"lexical": {"q1": ranked("ba"), "q2": ranked("a")}, "ranked": {"q1": ranked("a"), "q2": ranked("a")}}
        figures = measure(runs, judgments)
        assert figures["lexical"]["nDCG@10"].over_lexical == 0
        assert figures["ranked"]["nDCG@10"].over_lexical == pytest.approx((1 - 1 / log2(3)) / 2)

    def test_each_stage_is_compared_with_the_one_before(self):
        judgments = Judgments(tuple(judged(q1="aE", q2="aE")))
        runs = {
            "lexical": {"q1": ranked("a"), "q2": ranked("a")},
            "fused": {"q1": ranked("ba"), "q2": ranked("ba")},
            "ranked": {"q1": ranked("a"), "q2": ranked("ba")},
        }
        figures = {stage: row["nDCG@10"] for stage, row in measure(runs, judgments).items()}
        assert figures["lexical"].over_before is None
        assert figures["fused"].over_before.value == pytest.approx(1 / log2(3) - 1)
        assert figures["ranked"].over_before.value == pytest.approx((1 - 1 / log2(3)) / 2)


class TestComparing:
    def test_a_clear_gain_is_told_from_chance(self):
        base = np.random.default_rng(0).random(40)
        figure = compare(base + 0.2, base)
        assert figure.over_lexical == pytest.approx(0.2)
        assert figure.p < 0.01
        assert figure.low < figure.mean < figure.high

    def test_noise_is_not(self):
        random = np.random.default_rng(0)
        base = random.random(40)
        assert compare(base + random.standard_normal(40) * 0.1, base).p > 0.05

    def test_equal_values_differ_by_nothing(self):
        figure = compare(np.full(5, 0.3), np.full(5, 0.3))
        assert (figure.mean, figure.low, figure.high) == pytest.approx((0.3, 0.3, 0.3))
        assert (figure.over_lexical, figure.p) == (0, 1)

    def test_one_query_proves_nothing(self):
        figure = compare(np.array([0.5]), np.array([0.2]))
        assert (figure.mean, figure.low, figure.high, figure.p) == (0.5, 0.5, 0.5, 1.0)
        assert figure.over_lexical == pytest.approx(0.3)

    def test_is_the_same_each_time(self):
        values = np.random.default_rng(1).random(20)
        assert compare(values, values[::-1]) == compare(values, values[::-1])
