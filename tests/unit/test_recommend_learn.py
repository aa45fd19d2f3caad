"""The stage that learns a shelf: in a catalogue's rows, for products never sold too, and as files that agree."""

import argparse
import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from rich.console import Console

from build.compression.qdq import work_per_value
from build.compression.quantise import LEAST_WORK
from build.inputs import add_arguments, chosen
from build.settings import Compression, ShelfSettings, Training
from build.shelf import baselines
from build.shelf.baselines import ease, item_item, of_sold
from build.shelf.compress import choose
from build.shelf.learn import Behaviour, learn, weeks_for
from build.shelf.ranker import neighbours
from shelfbridge.catalogue import Catalogue, Product
from shelfbridge.contract import SHELF_CANDIDATES, SHELF_EVENTS, SHELF_SIGNALS, SHELF_WIDTH
from shelfbridge.errors import DataError
from shelfbridge.retrieval.vectors import write_vectors
from shelfbridge.shelf.history import BUY, DAY, History
from shelfbridge.shelf.products import ShelfProducts
from tests.unit.recommend_shop import EACH, GROUPS, NOW, shop, texts

QUIET = Console(quiet=True)
SETTINGS = ShelfSettings(training=Training(epochs=4, batch=64, learning_rate=1e-2), refresh=1, weeks=2)
NEW = 3
"""Products of the second kind that nobody bought."""


def catalogue() -> Catalogue:
    """The shop's products behind some that are new, in another order."""
    fresh = [Product(product_id=f"new{number}", title=f"new {number}", price=7.0) for number in range(NEW)]
    known = [Product(product_id=name, title=name, price=3.0) for name in reversed(shop().items)]
    return Catalogue((*fresh, *known))


def vectors() -> np.ndarray:
    """Of the catalogue's texts; the new ones are like the second kind."""
    known = texts()
    return np.concatenate([known[EACH : EACH + NEW], known[::-1]])


@pytest.fixture(scope="module")
def behaviour() -> Behaviour:
    return Behaviour.of(shop(), catalogue())


@pytest.fixture(scope="module")
def learned(tmp_path_factory, behaviour):
    index, folder = tmp_path_factory.mktemp("index"), tmp_path_factory.mktemp("learned")
    write_vectors(index, vectors())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "LARGEST", GROUPS * EACH)  # fewer than are in the catalogue, as many as were sold
        learn(
            folder,
            behaviour=behaviour,
            index=index,
            prices=np.array([product.price for product in catalogue().products], np.float32),
            settings=SETTINGS,
            compression=Compression(methods=("percentile",), budget=0.02),
            place="faiss",
            console=QUIET,
        )
    return folder


class TestBehaviour:
    def test_numbers_are_rows_of_the_catalogue(self, behaviour):
        before, after = shop(), behaviour.interactions
        assert [before.items[number] for number in before.item] == [after.items[number] for number in after.item]
        assert after.items == tuple(product.product_id for product in catalogue().products)
        assert behaviour.unsold.nonzero()[0].tolist() == list(range(NEW))

    def test_products_that_the_catalogue_lacks_are_left_out_and_counted(self):
        fewer = Catalogue(catalogue().products[: NEW + EACH])
        found = Behaviour.of(shop(), fewer)
        assert 0 < found.unknown < len(shop())
        assert found.unknown + len(found.interactions) == len(shop())

    def test_another_shops_interactions_are_refused(self):
        with pytest.raises(DataError, match="are these the ids of one shop"):
            Behaviour.of(shop(), Catalogue((Product(product_id="x", title="x"),)))

    @pytest.mark.parametrize("column", ["user", "item", "time", "basket"])
    def test_another_purchase_is_another_identity(self, behaviour, column):
        changed = replace(behaviour.interactions, **{column: np.roll(getattr(behaviour.interactions, column), 1)})
        assert Behaviour(changed, 0).identity != behaviour.identity == Behaviour.of(shop(), catalogue()).identity


def test_windows_are_as_long_as_the_data_permit(behaviour):
    assert weeks_for(behaviour.interactions, 4) == 4
    assert weeks_for(behaviour.interactions, 100) == 4  # 200 days are 28 weeks
    with pytest.raises(DataError, match="give six weeks at least"):
        weeks_for(behaviour.interactions.between(int(behaviour.interactions.time[-1]) - 86_400 * 30, 2**60), 4)


def test_the_command_line_says_how_long_windows_may_be():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    given = ["--catalogue", "c.jsonl", "--judgments", "j.tsv", "--out", "out"]
    assert chosen(parser.parse_args([*given, "--weeks", "2"])).shelf.weeks == 2
    assert chosen(parser.parse_args(given)).shelf.weeks == 4


def test_shoppers_who_never_come_back_are_refused(behaviour):
    once = replace(behaviour.interactions, user=behaviour.interactions.basket)
    once = replace(once, users=tuple(f"u{number}" for number in range(int(once.user.max()) + 1)))
    with pytest.raises(DataError, match="in a window of 4 weeks nobody comes back"):
        weeks_for(once, 4)


def test_ease_of_what_was_sold_is_the_same_among_more(behaviour):
    def fit(some):
        return item_item(ease(some, 10.0), 60)

    items = np.array([0, NEW, NEW + 9], np.int32)
    history = History(NOW, items, np.full(3, NOW - DAY), np.full(3, BUY, np.int64))
    whole = fit(behaviour.interactions)(history)
    assert of_sold(behaviour.interactions, fit)(history) == pytest.approx(whole, abs=1e-5)
    assert np.abs(whole).max() > 0.01


def test_neighbours_are_of_what_was_sold_and_the_same_among_more(behaviour):
    def alike(some):
        count = len(some.items)
        return np.arange(count * count, dtype=np.float32).reshape(count, count)

    near = neighbours(behaviour.interactions, alike)
    assert near.places[:NEW].tolist() == [-1] * NEW
    assert near.items.min() >= NEW
    assert near.weights.shape == (GROUPS * EACH, GROUPS * EACH)
    amounts = near.spread(np.array([0, NEW], np.int32), np.ones(2, np.float32))
    assert amounts[NEW:].tolist() == alike(shop())[0].tolist()
    assert not amounts[:NEW].any()


class TestLearned:
    def products(self, learned) -> ShelfProducts:
        return ShelfProducts.open(learned / "shelf_candidates")

    def test_the_networks_take_what_the_contract_says(self, learned):
        encoder = onnxruntime.InferenceSession(learned / "user_encoder/model.onnx")
        products = self.products(learned)
        liked = np.arange(NEW, NEW + 3)  # of the last kind, as the order is turned
        for length in (3, SHELF_EVENTS):
            feed = {
                "event_vectors": np.resize(products.vectors.fetch(liked), (1, length, SHELF_WIDTH)),
                "event_ages": np.ones((1, length), np.float32),
                "event_kinds": np.full((1, length), BUY),
                "event_mask": np.ones((1, length), np.int64),
            }
            (user,) = encoder.run(["user_vector"], feed)
            found = products.vectors.search(user[0], EACH)
            assert np.mean((found >= NEW) & (found < NEW + EACH)) > 0.8
        ranker = onnxruntime.InferenceSession(learned / "shelf_ranker/model.onnx")
        signals = np.zeros((2, SHELF_CANDIDATES, len(SHELF_SIGNALS)), np.float32)
        assert ranker.run(["shelf_scores"], {"shelf_signals": signals})[0].shape == (2, SHELF_CANDIDATES)

    def test_the_server_projects_texts_as_training_did(self, learned):
        products = self.products(learned)
        fresh = np.arange(NEW)
        assert products.projection(vectors()[fresh]) == pytest.approx(products.vectors.fetch(fresh), abs=1e-4)

    def test_a_product_never_sold_is_near_its_kind(self, learned):
        vector = self.products(learned).vectors.fetch(np.arange(NEW)).mean(0)
        nearest = self.products(learned).vectors.search(vector, NEW + 4)
        kinds = [(GROUPS * EACH + NEW - 1 - row) // EACH for row in nearest if row >= NEW]
        assert kinds.count(1) >= 3

    def test_the_record_says_what_it_is_worth(self, learned):
        record = json.loads((learned / "shelf.json").read_text())
        assert record["never_sold"] == NEW
        assert record["identity"] == Behaviour.of(shop(), catalogue()).identity
        assert record["weeks"] == 2
        assert sum(record["events"].values()) > 0
        figures = record["recall@20"]
        assert figures["shelf"]["overall"] > figures["popular"]["overall"] - 0.05
        assert set(figures) == {"popular", "EASE", "shelf"}

    def test_what_is_served_hangs_on_counted_work_and_recall_alone(self, learned):
        """By the clock, equal builds would serve different forms."""
        told = json.loads((learned / "user_encoder/compression.json").read_text())
        forms = told["forms"]
        assert set(forms) == {"fp32", "fp16", "int8"}
        work = work_per_value(onnx.load(learned / "user_encoder/fp32.onnx"))
        assert work < LEAST_WORK
        assert told["served"] == "fp32"
        assert told["why"] == f"{work:.0f} multiply-adds for each value that int8 converts; it is quicker from 100 on"
        assert not any("ms" in form for form in forms.values())
        same = (learned / "user_encoder/model.onnx").read_bytes() == (learned / "user_encoder/fp32.onnx").read_bytes()
        assert same == (told["served"] == "fp32")
        assert {path.name for path in (learned / "user_encoder").iterdir()} == {
            *("model.onnx", "fp32.onnx", "fp16.onnx", "int8.onnx", "compression.json")
        }
        # this shop's lists are too few to hold fp16 against
        assert {path.name for path in (learned / "shelf_ranker").iterdir()} == {"model.onnx", "fp32.onnx"}


@pytest.mark.parametrize(
    ("recalls", "work", "served"),
    [
        ({"fp32": 0.3}, 400, "fp32"),
        ({"fp32": 0.3, "int8": 0.3}, 99, "fp32"),
        ({"fp32": 0.3, "int8": 0.295}, 100, "int8"),
        ({"fp32": 0.3, "int8": 0.29}, 400, "fp32"),
    ],
)
def test_int8_is_served_where_there_is_enough_to_multiply_and_little_is_lost(recalls, work, served):
    assert choose(recalls, work, 0.006)[0] == served
