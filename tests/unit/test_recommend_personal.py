"""The measure of personal search: which queries it asks, and what it counts."""

from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from build.shelf.personal import KINDS, WEIGHTS, Wish, reciprocal, report, wished
from build.shelf.split import Case, cases
from shelfbridge.catalogue import Catalogue, Product
from shelfbridge.shelf.history import BUY, DAY, History
from tests.unit.recommend_shop import EACH, NOW, shop

QUIET = Console(quiet=True)


def catalogue() -> Catalogue:
    return Catalogue(
        tuple(
            Product(product_id=name, title=f"one two three four {name}", category=("All", f"kind {number // EACH}"))
            for number, name in enumerate(shop().items)
        )
    )


def history(*items: int) -> History:
    rows = np.array(items, np.int32)
    return History(NOW, rows, np.full(len(rows), NOW - DAY), np.full(len(rows), BUY, np.int64))


def test_asks_for_what_is_new_by_category_and_by_words_of_the_title():
    some = cases(shop(), NOW - 20 * DAY, NOW)
    found = list(wished(some, catalogue(), 10))
    assert len(found) == 20
    assert found == list(wished(some, catalogue(), 10))
    for wish in found:
        assert wish.row in wish.case.bought
        assert wish.row not in wish.case.history.items
        if wish.kind == "category":
            assert wish.query == f"kind {wish.row // EACH}"
        else:
            assert len(wish.query.split()) == 3
            assert set(wish.query.split()) <= set(catalogue().products[wish.row].title.split())


@pytest.fixture
def search():
    """Finds products 3, 2 and 1 in that order, whatever is asked, and pads."""
    candidates = SimpleNamespace(
        rows=np.array([3, 2, 1, -1], np.int32), signals=0, tokens=0, lengths=0, cosines=np.zeros(1)
    )
    retrieval = SimpleNamespace(encode=lambda query: query, candidates=lambda query: candidates)
    return SimpleNamespace(retrieval=retrieval, scores=lambda query, found: np.array([3, 2, 1, 0], np.float32))


@pytest.fixture
def shelf():
    """Whose shopper likes what they own."""
    users = SimpleNamespace(vectors=lambda histories: np.zeros((len(histories), 2), np.float32))

    def tastes(known: History, vector: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.isin(rows, known.items).astype(np.float32)

    return SimpleNamespace(knowledge=SimpleNamespace(users=users), tastes=tastes)


def test_a_rank_is_that_of_what_was_bought_and_taste_moves_it(search, shelf):
    bought = np.array([1], np.int32)
    liked = Wish("title", "q", 1, Case(0, history(1), bought))
    disliked = Wish("title", "q", 1, Case(0, history(3), bought))
    elsewhere = Wish("title", "q", 9, Case(0, history(1), bought))
    found = reciprocal(search, shelf, [liked, disliked, elsewhere], QUIET)
    assert found.shape == (3, len(WEIGHTS))
    assert found[:, 0].tolist() == pytest.approx([1 / 3, 1 / 3, 0])
    assert found[0, -1] > 1 / 3
    assert found[1].tolist() == pytest.approx([1 / 3] * len(WEIGHTS))
    assert not found[2].any()


def test_the_table_has_a_row_for_each_kind():
    one = {"mrr": 0.5, "difference": 0.1, "low": -0.1, "high": 0.3, "users": 3}
    said = report({"by_kind": {kind: {str(weight): one for weight in WEIGHTS} for kind in KINDS}}).markdown
    assert said.count("0.500 (+0.100 [-0.100, +0.300])") == len(KINDS) * (len(WEIGHTS) - 1)
    assert "| category | 0.500 | " in said
