import numpy as np
import pytest

from build.shelf.baselines import Popularity
from build.shelf.interactions import Interactions
from shelfbridge.contract import SHELF_SIGNALS
from shelfbridge.shelf.history import BUY, DAY, KINDS, History, Shopper
from shelfbridge.shelf.signals import Demand, Neighbours, Products, candidates, signals
from tests.unit.recommend_shop import NOW, shop


def history(*events: tuple[int, float]) -> History:
    """Purchases of products, so many days ago."""
    items = np.array([item for item, _ in events], np.int32)
    times = np.array([NOW - int(age * DAY) for _, age in events], np.int64)
    return History(NOW, items, times, np.full(len(items), BUY, np.int64))


def products(count: int = 6, **given: np.ndarray) -> Products:
    each = np.arange(count, dtype=np.int32)
    nothing = Neighbours(np.zeros((count, 1), np.int32), np.zeros((count, 1), np.float32), each)
    known = {
        "vectors": np.eye(count, 4, dtype=np.float32),
        "texts": np.eye(count, dtype=np.float32),
        "prices": np.ones(count, np.float32),
        "associated": nothing,
        "companions": nothing,
    }
    return Products(**(known | given))


def demand(count: int = 6) -> Demand:
    return Demand(np.zeros(count, np.float32), np.zeros(count, np.float32))


def column(name: str, table: np.ndarray) -> list[float]:
    return table[:, SHELF_SIGNALS.index(name)].tolist()


ALL = np.arange(6, dtype=np.int32)
USER = np.array([1, 0.5, 0, 0], np.float32)


class TestSignals:
    @staticmethod
    def of(given: History, known: Products | None = None, wanted: Demand | None = None) -> np.ndarray:
        return signals(Shopper.of(given), USER, ALL, known or products(), wanted or demand())

    def test_affinity_is_less_the_lists_best(self):
        assert column("affinity", self.of(history())) == [0, -0.5, -1, -1, -1, -1]

    def test_habits_are_of_what_was_bought(self):
        table = self.of(history((2, 20), (3, 10), (2, 10)))
        assert column("owned", table) == [0, 0, 1, 1, 0, 0]
        assert column("times", table) == pytest.approx([0, 0, np.log(3), np.log(2), 0, 0])
        assert column("last", table) == pytest.approx([0, 0, np.log(11), np.log(11), 0, 0])
        assert column("due", table) == pytest.approx([0] * 6, abs=1e-6)
        assert column("due", self.of(history((2, 20), (2, 12))))[2] == pytest.approx(np.log(13 / 9))

    def test_a_basket_counts_once_however_many_lines_it_has(self):
        assert column("times", self.of(history((2, 5), (2, 5))))[2] == pytest.approx(np.log(2))

    def test_prices_are_against_what_the_shopper_owns(self):
        prices = np.array([1, 2, 4, np.nan, 8, 1], np.float32)
        table = self.of(history((1, 1), (4, 1)), products(prices=prices))
        assert column("price", table) == pytest.approx(np.log([1 / 4, 1 / 2, 1, 1, 2, 1 / 4]), abs=1e-6)
        assert column("price", self.of(history((3, 1)), products(prices=prices))) == [0] * 6

    def test_association_fades_with_what_it_comes_from(self):
        leads = Neighbours(np.array([[1]] * 6, np.int32), np.full((6, 1), 0.5, np.float32), ALL)
        table = self.of(history((0, 60)), products(associated=leads))
        assert column("association", table) == [0, 0.25, 0, 0, 0, 0]
        assert column("company", table) == [0] * 6

    def test_what_was_looked_at_is_of_interest_and_what_was_removed_is_not(self):
        leads = Neighbours(np.arange(1, 7, dtype=np.int32)[:, None] % 6, np.ones((6, 1), np.float32), ALL)
        given = history((0, 60), (2, 0))
        kinds = np.array([KINDS.index("view"), KINDS.index("remove")])
        looked = History(given.now, given.items, given.times, kinds)
        table = self.of(looked, products(associated=leads))
        assert column("association", table) == [0, 0.5, 0, 0, 0, 0]
        assert column("owned", table) == [0] * 6

    def test_trend_is_zero_where_demand_is_steady(self):
        steady = Demand(np.full(6, 7, np.float32), np.full(6, 56, np.float32))
        assert column("trend", self.of(history(), wanted=steady)) == pytest.approx([0] * 6)
        rising = Demand(np.full(6, 7, np.float32), np.full(6, 7, np.float32))
        assert min(column("trend", self.of(history(), wanted=rising))) > 1

    def test_texts_are_compared_with_the_latest(self):
        table = self.of(history((0, 3), (1, 1)))
        assert column("cosine", table) == [1, 1, 0, 0, 0, 0]
        assert column("cosines", table) == [0.5, 0.5, 0, 0, 0, 0]

    def test_a_stranger_has_finite_signals(self):
        assert np.isfinite(self.of(history())).all()


def test_candidates_come_from_every_source(monkeypatch):
    monkeypatch.setattr(
        "shelfbridge.shelf.signals.WIDTHS", dict.fromkeys(("encoder", "association", "owned", "popular"), 1)
    )
    leads = Neighbours(np.array([[2]] * 6, np.int32), np.ones((6, 1), np.float32), ALL)
    wanted = Demand(np.array([0, 0, 0, 0, 9, 0], np.float32), np.zeros(6, np.float32))
    known = products(associated=leads)
    assert candidates(Shopper.of(history((5, 1))), USER, known, wanted).tolist() == [0, 2, 4, 5]
    assert candidates(Shopper.of(history()), USER, known, wanted).tolist()[0] == 0


def test_neighbours_keep_the_largest_weights():
    weights = np.array([[0, 3, 2], [1, 0, -5], [4, 5, 0]], np.float32)
    found = Neighbours.of(weights, 1)
    assert found.items.ravel().tolist() == [1, 0, 1]
    assert found.spread(np.array([0, 2], np.int32), np.array([1, 0.5], np.float32)).tolist() == [0, 5.5, 0]


class TestPopularity:
    @staticmethod
    def of(rows: list[tuple[int, int, float]], half_life: float) -> Popularity:
        """Of (basket, product, days before NOW)."""
        rows = sorted(rows, key=lambda row: -row[2])
        basket, item, ages = (np.array(column) for column in zip(*rows, strict=True))
        one = np.ones(len(rows), np.float32)
        return Popularity(
            Interactions(
                user=basket.astype(np.int32),
                item=item.astype(np.int32),
                time=(NOW - ages * DAY).astype(np.int64),
                basket=basket.astype(np.int32),
                quantity=one,
                price=one,
                users=(),
                items=("a", "b"),
                titles=("", ""),
            ),
            half_life,
        )

    def test_halves_and_counts_a_basket_once(self):
        known = self.of([(0, 0, 5), (0, 0, 5), (1, 1, 3), (2, 1, 3)], 2)
        assert known.at(NOW).tolist() == pytest.approx([0.5**2, 2 * 0.5])
        assert known.at(NOW + 20 * DAY).tolist() == pytest.approx([0.5**12, 2 * 0.5**11])

    def test_knows_nothing_of_today(self):
        known = self.of([(0, 0, 0), (1, 1, 1)], 1000)
        assert known.at(NOW)[0] == 0
        assert known.at(NOW)[1] > 0.99
        assert known.at(NOW - 30 * DAY).tolist() == [0, 0]


def test_the_shop_that_tests_share_is_in_order_of_time():
    assert (np.diff(shop().time) >= 0).all()
