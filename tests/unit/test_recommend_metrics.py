from collections.abc import Sequence

import numpy as np
import pytest

from build.shelf.metrics import CUT, Figures, compared, measure
from build.shelf.split import Case
from shelfbridge.shelf.history import BUY, History

COUNT = 30


def case(bought: list[int], before: Sequence[int] = (), user: int = 0) -> Case:
    items = np.array(before, np.int32)
    history = History(100, items, np.zeros(len(items), np.int64), np.full(len(items), BUY, np.int64))
    return Case(user, history, np.array(bought, np.int32))


def ranking(*first: int) -> np.ndarray:
    """Scores by which these come first, then the others by number."""
    scores = -np.arange(COUNT, dtype=np.float32)
    for place, item in enumerate(first):
        scores[item] = 100 - place
    return scores


class TestMeasure:
    def test_a_hand_counted_list(self):
        figures = measure([case([7, 29])], [ranking(3, 7)])
        assert figures.mean("overall", "recall") == 0.5
        assert figures.mean("overall", "mrr") == 0.5
        gain, ideal = 1 / np.log2(3), 1 + 1 / np.log2(3)
        assert figures.mean("overall", "ndcg") == pytest.approx(gain / ideal)
        assert figures.coverage == CUT / COUNT

    def test_new_products_are_ranked_without_what_was_bought_before(self):
        figures = measure([case([7, 3], before=[3, 4])], [ranking(3, 4, 7)])
        assert figures.mean("new", "mrr") == 1
        assert figures.mean("repeat", "mrr") == 1
        assert figures.mean("repeat", "recall") == 1

    def test_a_case_without_new_products_says_nothing_of_them(self):
        figures = measure([case([3], before=[3]), case([5])], [ranking(3), ranking(9)])
        assert figures.mean("repeat", "recall") == 1
        assert np.isnan(figures.column("new", "recall")[0])
        assert figures.mean("new", "mrr") == pytest.approx(1 / 7)

    def test_what_is_not_shown_is_not_found(self):
        scores = np.full(COUNT, -np.inf, np.float32)
        scores[[1, 2]] = 1
        figures = measure([case([2, 8])], [scores])
        assert figures.mean("overall", "recall") == 0.5
        assert figures.coverage == 2 / COUNT

    def test_beyond_the_cut_only_the_reciprocal_rank_counts(self):
        figures = measure([case([25])], [ranking()])
        assert figures.mean("overall", "recall") == 0
        assert figures.mean("overall", "ndcg") == 0
        assert figures.mean("overall", "mrr") == pytest.approx(1 / 26)

    def test_an_ideal_list_has_an_ndcg_of_one(self):
        wanted = list(range(25))
        assert measure([case(wanted)], [ranking(*wanted)]).mean("overall", "ndcg") == pytest.approx(1)


class TestCompared:
    @staticmethod
    def figures(users: list[int], values: list[float]) -> Figures:
        table = np.full((len(users), 3, 3), np.nan)
        table[:, 0, 0] = values
        return Figures(np.array(users), table, 0.0)

    def test_cases_of_a_user_go_together(self):
        """A difference that one user makes alone is uncertain, however many cases they have."""
        one, many = [0] * 50 + list(range(1, 51)), list(range(100))
        values = [0.2] * 50 + [0.0] * 50
        before = [0.0] * 100
        wide = compared(self.figures(one, values), self.figures(one, before), "overall", "recall")
        narrow = compared(self.figures(many, values), self.figures(many, before), "overall", "recall")
        assert wide["difference"] == pytest.approx(0.1)
        assert narrow["difference"] == pytest.approx(0.1)
        assert (wide["users"], narrow["users"]) == (51, 100)
        assert wide["low"] == 0 < narrow["low"] < 0.1 < narrow["high"] < wide["high"]

    def test_the_same_is_no_different(self):
        same = self.figures([0, 1], [0.5, 0.25])
        found = compared(same, same, "overall", "recall")
        assert (found["low"], found["difference"], found["high"]) == (0, 0, 0)

    def test_cases_without_the_part_are_left_out(self):
        ours, other = self.figures([0, 1], [1, np.nan]), self.figures([0, 1], [0, np.nan])
        assert compared(ours, other, "overall", "recall") == {"difference": 1, "low": 1, "high": 1, "users": 1}
