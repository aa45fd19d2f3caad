"""What catalogues and moments do to a shelf: gifts, variants, and products that go while it is filled."""

from dataclasses import replace

import numpy as np

from shelfbridge.contract import SHELF_SIGNALS
from shelfbridge.shelf.arrange import SAME, arrange
from shelfbridge.shelf.history import BUY, DAY, History, Shopper
from shelfbridge.shelf.signals import Demand, Neighbours, Products, signals
from tests.unit.test_shelf_fill import NOW, unit
from tests.unit.test_shelf_products import LAMP, SHOE, changed  # noqa: F401


def test_a_product_that_costs_nothing_has_finite_signals():
    each = np.arange(3, dtype=np.int32)
    nothing = Neighbours(np.zeros((3, 1), np.int32), np.zeros((3, 1), np.float32), each)
    texts, prices = np.eye(3, dtype=np.float32), np.array([0, 5, 10], np.float32)
    products, none = Products(texts, texts, prices, nothing, nothing), np.zeros(3, np.float32)
    price = SHELF_SIGNALS.index("price")
    for bought in (0, 1):
        history = History(NOW, np.array([bought], np.int32), np.array([NOW - DAY]), np.array([BUY]))
        table = signals(Shopper.of(history), np.ones(3, np.float32), each, products, Demand(none, none))
        assert np.isfinite(table).all()
        assert np.abs(table[:, price]).max() < 10
        assert table[0, price] == 0


def test_variants_do_not_empty_a_shelf():
    random = np.random.default_rng(0)
    variants = np.tile(random.standard_normal(16), (80, 1)) + 0.01 * random.standard_normal((80, 16))
    texts = unit(np.concatenate([variants, random.standard_normal((20, 16))]))
    assert texts[0] @ texts[1] > SAME
    scores = np.linspace(5, 0, 100).astype(np.float32)
    places, explored = arrange(scores, texts, 10, 0)
    assert len(places) == 10
    assert (places < 80).sum() == 1
    assert (places[explored] >= 80).all()
    places, explored = arrange(scores[:80], texts[:80], 10, 0)
    assert len(places) == 10
    assert not explored.any()


def test_what_is_gone_says_nothing_and_is_not_shown(changed):  # noqa: F811
    was, now = changed
    gone, lamp = was.row(SHOE), was.row(LAMP)
    assert not now.texts[np.array([gone])].any()
    assert now.texts[np.array([lamp])].any()
    rows = np.array([gone, lamp, -1, now.row("new-lamp"), len(now) + 5])
    assert now.sells(rows).tolist() == [False, True, False, True, False]
    assert was.sells(rows).tolist() == [True, True, False, False, False]
    assert now.rows_of(np.array([gone, lamp])).tolist() == [-1, -1]  # the lamp has another row in the index now
    assert replace(now, here=None, indexed=None).rows_of(np.array([3])).tolist() == [3]
