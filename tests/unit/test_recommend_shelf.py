import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from threadpoolctl import threadpool_limits

from build.settings import ShelfSettings, Training
from build.shelf import baselines
from build.shelf.__main__ import main
from build.shelf.baselines import Model, Popularity, als, ease, item_item, own, popular, scored, together
from build.shelf.evaluate import evaluate
from build.shelf.interactions import Interactions
from build.shelf.metrics import measure
from build.shelf.ranker import Knowledge, Lists, paid, shelves, train_head
from build.shelf.report import report
from build.shelf.split import Split, cases, with_history
from build.shelf.train import Users, train
from shelfbridge.contract import SHELF_SIGNALS
from shelfbridge.errors import DataError
from shelfbridge.program import BAD_INPUT
from shelfbridge.shelf.history import BUY, DAY, History
from tests.unit.recommend_shop import EACH, GROUPS, NOW, shop, texts

SETTINGS = ShelfSettings(training=Training(epochs=4, batch=64, learning_rate=1e-2), refresh=1, weeks=2)
QUIET = Console(quiet=True)
SPLIT = Split.of(shop(), weeks=2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, so that what is the same is the same to the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


def liked(model: Model, user: int, items: list[int]) -> float:
    """Share of the first products that are of the user's kind, for a history of some of them."""
    history = History(
        NOW, np.array(items, np.int32), np.full(len(items), NOW - DAY), np.full(len(items), BUY, np.int64)
    )
    return float(np.mean(np.argsort(-model(history))[:EACH] // EACH == user % GROUPS))


class TestBaselines:
    @pytest.mark.parametrize(
        "model",
        [
            lambda past: item_item(ease(past, 5.0), 1000),
            lambda past: item_item(together(past), 1000),
            lambda past: item_item(together(past, "basket"), 1000),
            lambda past: als(past, factors=8, strength=2.0),
        ],
    )
    def test_find_the_kind_of_a_history(self, model):
        assert liked(model(shop()), 2, [16, 17, 20]) > 0.9

    def test_popular_is_the_same_for_everyone(self):
        model = popular(Popularity(shop(), 7))
        nobody = History.of(SPLIT.end - 1, [], [], [])
        assert model(with_history(cases(shop(), 0, SPLIT.end))[-1].history).argmax() == model(nobody).argmax()

    def test_own_comes_before_popular(self):
        items = np.array([3, 3, 5], np.int32)
        times = NOW - np.array([30, 20, 20]) * DAY
        scores = own(Popularity(shop(), 7), 60)(History(NOW, items, times, np.full(3, BUY, np.int64)))
        assert np.argsort(-scores)[:2].tolist() == [3, 5]
        assert (scores > 0).sum() > 20

    def test_ease_is_the_ridge_regression_of_each_product_on_the_others(self):
        matrix, weights = baselines.bought_by(shop()).toarray().astype(np.float64), ease(shop(), 10.0)
        others = np.delete(np.arange(GROUPS * EACH), 5)
        gram = matrix[:, others].T @ matrix[:, others] + 10 * np.eye(len(others))
        np.testing.assert_allclose(
            weights[others, 5], np.linalg.solve(gram, matrix[:, others].T @ matrix[:, 5]), atol=1e-4
        )
        assert (np.diag(weights) == 0).all()


def test_too_many_products_are_refused(monkeypatch):
    monkeypatch.setattr(baselines, "LARGEST", 10)
    with pytest.raises(DataError, match="32 products make a matrix of their square, and 10 may"):
        ease(shop(), 10.0)


def test_prices_are_medians_and_unknown_ones_are_nan():
    known = shop()
    found = paid(known.where(known.item != 4))
    assert np.isnan(found[4])
    assert np.delete(found, 4).tolist() == pytest.approx(np.delete(1 + np.arange(GROUPS * EACH) % EACH, 4).tolist())


class TestNoPeeking:
    @staticmethod
    def shuffled(known: Interactions, moment: int) -> Interactions:
        """The same until a moment; from then on users, products, prices and times are exchanged."""
        later = np.flatnonzero(known.time >= moment)
        random = np.random.default_rng(5)
        columns = {}
        for name in ("user", "item", "price", "quantity"):
            column = getattr(known, name).copy()
            column[later] = column[random.permutation(later)]
            columns[name] = column
        time = known.time.copy()
        time[later] = np.sort(random.integers(moment, NOW, len(later)))
        return replace(
            known, time=time, basket=np.where(known.time >= moment, 10_000 + known.user, known.basket), **columns
        )

    @staticmethod
    def lists(known: Interactions, cut: int, moment: int, users: Users) -> list[tuple[np.ndarray, np.ndarray]]:
        knowledge = Knowledge.fit(users, texts(), known, cut, paid(known.before(cut)))
        asked = with_history(cases(known, cut, moment))
        assert len(asked) > 20
        return knowledge.lists([case.history for case in asked], QUIET)

    def test_what_comes_after_a_moment_changes_no_signal_before_it(self):
        moment, known = SPLIT.test, shop()
        past, changed = cases(known, 0, SPLIT.validation), self.shuffled(known, moment)
        assert (changed.item != known.item).any()
        one = train(texts(), past, SETTINGS, console=QUIET)
        other = train(texts(), cases(changed, 0, SPLIT.validation), SETTINGS, console=QUIET)
        before = self.lists(known, SPLIT.validation, moment, one)
        after = self.lists(changed, SPLIT.validation, moment, other)
        for (rows, table), (rows_after, table_after) in zip(before, after, strict=True):
            assert (rows == rows_after).all()
            assert (table == table_after).all()

    def test_what_comes_before_it_does(self):
        moment, known = SPLIT.test, shop()
        users = train(texts(), cases(known, 0, SPLIT.validation), SETTINGS, console=QUIET)
        earlier = self.shuffled(known, SPLIT.validation - 5 * DAY)
        first, second = (
            self.lists(known, SPLIT.validation, moment, users),
            self.lists(earlier, SPLIT.validation, moment, users),
        )
        assert any(len(a) != len(b) or (a != b).any() for (_, a), (_, b) in zip(first, second, strict=False))


class TestHead:
    @staticmethod
    def lists(signal: str, count: int = 200) -> Lists:
        """Lists of ten, in which what has the highest of one signal is bought."""
        torch.manual_seed(0)
        table = torch.randn(count, 10, len(SHELF_SIGNALS))
        table[..., SHELF_SIGNALS.index("owned")] = 0
        wanted = torch.zeros(count, 10, dtype=torch.bool)
        wanted.scatter_(1, table[..., SHELF_SIGNALS.index(signal)].argmax(1, keepdim=True), True)
        there = torch.ones_like(wanted)
        return Lists(table, wanted, there)

    def test_learns_which_signal_tells(self):
        learned = self.lists("due")
        head = train_head([learned], 30)
        asked = self.lists("due", 100)
        found = head(asked.signals).argmax(1) == asked.wanted.long().argmax(1)
        assert found.float().mean() > 0.9

    def test_what_training_never_saw_vary_moves_no_score(self):
        """As the price, where no product that was sold had one; a catalogue may have them later."""
        price, learned = SHELF_SIGNALS.index("price"), self.lists("due")
        learned.signals[..., price] = 0
        head = train_head([learned], 3)
        asked = self.lists("due", 100).signals
        dear = asked.clone()
        asked[..., price] = 0
        torch.testing.assert_close(head(dear), head(asked), rtol=0, atol=0)


def test_the_shelf_beats_chance_and_what_is_popular():
    known = shop()
    (shelf,) = shelves(known, texts(), (SPLIT.validation, SPLIT.test), SETTINGS, QUIET, prices=lambda _: paid(known))
    asked = with_history(cases(known, SPLIT.test, SPLIT.end))
    ours = measure(asked, shelf.scores([case.history for case in asked], QUIET))
    plain = measure(asked, scored(popular(shelf.knowledge.popularities[0]), asked))
    assert ours.mean("overall", "ndcg") > plain.mean("overall", "ndcg") + 0.1


def test_an_evaluation_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("build.shelf.baselines.GRIDS", {
        "popular": {"half_life": (7, 28)},
        "own": {"half_life": (60,)},
        "EASE": {"penalty": (5, 50), "half_life": (60,)},
    })  # fmt: skip
    monkeypatch.setattr("build.shelf.metrics.CUT", 5)
    record = evaluate(shop(), texts(), SETTINGS, QUIET)
    report(record).write(tmp_path)
    assert json.loads((tmp_path / "recommend.json").read_text()) == json.loads(json.dumps(record))
    assert (tmp_path / "recommend.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "recommend.md").read_text()
    assert all(f"| {name} |" in text for name in ("popular", "own", "EASE", "user encoder", "shelf"))
    difference = record["differences"]["overall"]["recall"]
    assert difference["low"] <= difference["difference"] <= difference["high"]
    best = max(record["test"][name]["overall"]["recall"] for name in ("popular", "own", "EASE"))
    assert record["test"]["shelf"]["overall"]["recall"] - best == pytest.approx(difference["difference"])
    assert record["cold"]["encoder"]["held"] >= 0


def test_the_program_says_what_is_wrong(tmp_path, monkeypatch, capsys):
    file = tmp_path / "shop.csv"
    file.write_text("user,thing\n1,2\n")
    arguments = ["evaluate", "--interactions", str(file), "--release", "none", "--out", "out"]
    monkeypatch.setattr("sys.argv", ["build.shelf", *arguments])
    assert main() == BAD_INPUT
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "shop.csv: needs the columns user, product_id, time; it has user" in said
