from itertools import pairwise

import numpy as np
import pytest

from build.shelf.interactions import Interactions
from build.shelf.split import Split, cases
from shelfbridge.errors import DataError
from shelfbridge.shelf.history import DAY
from tests.unit.recommend_shop import shop

DAYS = 20_000 * DAY


def interactions(*rows: tuple[int, int, int, int]) -> Interactions:
    """Of (user, product, day, basket)."""
    user, item, day, basket = (np.array(column, np.int32) for column in zip(*rows, strict=True))
    one = np.ones(len(rows), np.float32)
    time = DAYS + day.astype(np.int64) * DAY
    names = tuple(str(number) for number in range(10))
    return Interactions(user, item, time, basket, one, one, users=names, items=names, titles=names)


class TestCases:
    def test_are_baskets_of_the_window_with_what_came_before(self):
        known = interactions(
            (0, 1, 0, 0), (1, 9, 0, 1), (0, 2, 1, 2), (0, 3, 2, 3), (0, 1, 2, 3), (0, 3, 2, 3), (0, 4, 3, 4)
        )
        first, second = cases(known, DAYS + DAY, DAYS + 3 * DAY)
        assert first.bought.tolist() == [2]
        assert first.history.items.tolist() == [1]
        assert second.bought.tolist() == [1, 3]
        assert second.history.items.tolist() == [1, 2]
        assert second.history.ages.tolist() == [2, 1]

    def test_a_basket_of_the_same_moment_is_no_history(self):
        known = interactions((0, 1, 0, 0), (0, 2, 1, 1), (0, 3, 1, 2))
        found = cases(known, DAYS + DAY, DAYS + 2 * DAY)
        assert [case.history.items.tolist() for case in found] == [[1], [1]]
        assert sorted(case.bought.tolist() for case in found) == [[2], [3]]

    def test_a_stranger_has_no_history(self):
        (case,) = cases(interactions((0, 1, 0, 0), (1, 2, 1, 1)), DAYS + DAY, DAYS + 2 * DAY)
        assert case.user == 1
        assert len(case.history) == 0

    def test_an_empty_window_has_none(self):
        assert cases(interactions((0, 1, 0, 0)), DAYS + DAY, DAYS + 2 * DAY) == []

    def test_all_baskets_are_found_in_order(self):
        known = shop()
        found = cases(known, 0, int(known.time[-1]) + 1)
        assert len(found) == known.basket.max() + 1
        assert all(a.history.now <= b.history.now for a, b in pairwise(found))
        assert all((case.history.times < case.history.now).all() for case in found)
        assert sum(len(case.bought) for case in found) == len(
            np.unique(np.stack([known.basket, known.item], 1), axis=0)
        )


class TestSplit:
    def test_windows_end_with_the_data(self):
        known = shop()
        split = Split.of(known, weeks=2)
        assert split.end == known.time[-1] + 1
        assert split.end - split.test == split.test - split.validation == split.validation - split.rehearsal == 14 * DAY

    def test_too_few_days_are_refused(self):
        known = shop(days=30)
        with pytest.raises(DataError, match=r"days of interactions are too few .*--weeks"):
            Split.of(known, weeks=2)
