"""How a shelf is filled: who the shopper is, what may stand there, and in which order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shelfbridge.errors import InvalidQuery
from shelfbridge.profiles import Bought, Profile, Recent
from shelfbridge.shelf.arrange import ALIKE, EXPLORED, SAME, arrange, blend, falling
from shelfbridge.shelf.history import BUY, DAY, KINDS
from shelfbridge.shelf.request import MAX_ITEMS, check_ids, check_kind, tried
from shelfbridge.shelf.shopper import CART, beside, dump, in_cart, load, shopper_of

NOW = 20_000 * DAY
ROWS = {f"p{number}": number for number in range(10)}


def find(product_id: str) -> int:
    return ROWS.get(product_id, -1)


def profile(*events: tuple[str, str, float]) -> Profile:
    """Of events as product, kind, and days ago, the oldest first."""
    recent = tuple(Recent(product, kind, NOW - ago * DAY) for product, kind, ago in reversed(events))
    bought = {
        product: Bought(
            sum(1 for other, kind, _ in events if (other, kind) == (product, "buy")), 1, NOW - 9 * DAY, NOW - ago * DAY
        )
        for product, kind, ago in events
        if kind == "buy"
    }
    return Profile(recent, bought)


class TestShopper:
    def test_events_become_rows_and_ages_the_latest_last(self):
        found = shopper_of(profile(("p3", "view", 2), ("p1", "buy", 1)), ["p5", "p6"], find, NOW)
        assert found.recent.items.tolist() == [3, 1, 5, 6]
        assert found.recent.ages[:2].tolist() == [2, 1]
        assert (np.diff(found.recent.times) > 0).all()
        assert [KINDS[kind] for kind in found.recent.kinds] == ["view", "buy", "view", "view"]
        assert (found.owned.items.tolist(), found.owned.times.tolist()) == ([1], [1])
        assert (found.owned.first.tolist(), found.owned.last.tolist()) == ([9], [1])

    def test_unknown_products_are_passed_over(self):
        found = shopper_of(profile(("gone", "buy", 1)), ["gone"], find, NOW)
        assert not found.known
        assert found.recent.items.dtype == np.int32

    def test_an_event_of_a_clock_ahead_happened_now(self):
        assert shopper_of(profile(("p1", "view", -0.001)), [], find, NOW).recent.ages.tolist() == [0]

    @pytest.mark.parametrize("given", [Profile(), profile(("p3", "view", 2), ("p1", "buy", 1), ("p1", "buy", 0.5))])
    def test_travels_as_text(self, given):
        shopper = shopper_of(given, ["p4"] if given.recent else [], find, NOW)
        back = load(dump(shopper))
        for one, other in ((shopper.recent, back.recent), (shopper.owned, back.owned)):
            for name, value in vars(one).items():
                assert np.array_equal(value, getattr(other, name))
                assert getattr(value, "dtype", int) == getattr(getattr(other, name), "dtype", int)

    def test_the_cart_is_what_was_put_in_and_stayed(self):
        steps = (("p1", "cart", 5), ("p2", "cart", 4), ("p3", "cart", 3), ("p2", "remove", 2), ("p3", "buy", 1))
        assert in_cart(shopper_of(profile(*steps), [], find, NOW)) == {1}

    def test_beside_a_product_it_is_as_if_that_were_in_the_cart(self):
        found = beside(shopper_of(profile(("p1", "buy", 1)), [], find, NOW), 7)
        assert (found.recent.items.tolist(), found.recent.kinds.tolist()) == ([1, 7], [BUY, CART])
        assert found.recent.ages[-1] == 0


class TestRequest:
    def test_the_usual_kind(self):
        assert (check_kind(None, beside=False), check_kind(b"", beside=True)) == ("for_you", "goes_with")
        assert check_kind(b"buy_again", beside=False) == "buy_again"

    @pytest.mark.parametrize(("raw", "beside"), [(b"For_you", False), (b"goes_with", False), (b"popular", True)])
    def test_other_kinds_are_refused(self, raw, beside):
        with pytest.raises(InvalidQuery):
            check_kind(raw, beside)

    def test_ids(self):
        assert check_ids("items", [b"", "靴".encode(), b"a"]) == ["靴", "a"]
        for raw in ([b"x"] * (MAX_ITEMS + 1), [b"x" * 257], [b"\xff"]):
            with pytest.raises(InvalidQuery, match="items"):
                check_ids("items", raw)

    def test_what_is_tried_out_changes_with_the_day_and_the_shopper(self):
        assert tried("a", 1) == tried("a", 1)
        assert len({tried("a", 1), tried("a", 2), tried("b", 1)}) == 3


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class TestArrange:
    @given(st.integers(0, 60), st.integers(1, 40), st.integers(0, 9))
    def test_shows_each_once_and_tries_a_tenth_out(self, count, k, seed):
        random = np.random.default_rng(seed)
        scores = random.standard_normal(count).astype(np.float32)
        places, explored = arrange(scores, unit(random.standard_normal((count, 16))), k, seed)
        assert len(places) == len(set(places.tolist())) == min(k, count)
        assert explored.sum() == min(len(places) // EXPLORED, count - len(places))
        assert not explored[:1].any()

    def test_the_best_is_first_and_scores_fall(self):
        scores = np.array([1, 5, 3], np.float32)
        places, _ = arrange(scores, unit(np.eye(3)), 3, 0)
        assert places.tolist() == [1, 2, 0]
        assert falling(scores[[1, 0, 2]], np.zeros(3, bool)).tolist() == [5, 1, 1]

    @given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 9))
    def test_what_is_tried_out_pulls_no_score_down(self, count, k, seed):
        """The others are told to score as they would on a shelf that tries nothing out; all scores fall."""
        random = np.random.default_rng(seed)
        scores = random.standard_normal(count).astype(np.float32)
        places, explored = arrange(scores, unit(random.standard_normal((count, 16))), k, seed)
        told = falling(scores[places], explored)
        assert told.dtype == np.float32
        assert told[~explored].tolist() == np.minimum.accumulate(scores[places][~explored]).tolist()
        assert (np.diff(told) <= 0).all()

    def test_what_is_tried_out_is_told_to_score_as_the_one_before(self):
        scores, explored = np.array([5, 0, 4, 3], np.float32), np.array([False, True, False, False])
        assert falling(scores, explored).tolist() == [5, 5, 4, 3]

    def test_one_of_two_variants_is_enough(self):
        texts = unit(np.array([[1, 0], [1, 0.01], [0, 1]]))
        assert texts[0] @ texts[1] > SAME
        for k, wanted in ((2, [0, 2]), (3, [0, 2, 1])):
            places, _ = arrange(np.array([3, 2, 1], np.float32), texts, k, 0)
            assert places.tolist() == wanted

    def test_what_is_much_alike_stands_behind_what_is_nearly_as_good(self):
        texts = unit(np.array([[1, 0, 0], [1, 0.4, 0], [0, 0, 1], [0, 1, 0]]))
        assert ALIKE < texts[0] @ texts[1] < SAME
        places, _ = arrange(np.array([1, 0.9, 0.88, 0], np.float32), texts, 4, 0)
        assert places.tolist() == [0, 2, 1, 3]

    def test_nothing_to_show(self):
        places, explored = arrange(np.zeros(0, np.float32), np.zeros((0, 4), np.float32), 10, 0)
        assert len(places) == len(explored) == 0


class TestBlend:
    SCORES = np.array([3, 2, 1, 0], np.float32)
    THERE = np.array([True, True, True, False])

    def test_taste_moves_scores_and_leaves_padding(self):
        found = blend(self.SCORES, np.array([0, 0, 9, 0], np.float32), self.THERE, weight=3.0)
        assert found.argmax() == 2
        assert found[3] == 0

    def test_no_weight_and_no_taste_change_nothing(self):
        taste = np.array([1, 2, 3, 0], np.float32)
        assert blend(self.SCORES, taste, self.THERE, weight=0.0).tolist() == self.SCORES.tolist()
        same = np.full(4, 2, np.float32)
        assert blend(self.SCORES, same, self.THERE).tolist() == self.SCORES.tolist()

    def test_one_candidate_has_no_order(self):
        alone = np.array([True, False, False, False])
        assert blend(self.SCORES, self.SCORES, alone) is self.SCORES
