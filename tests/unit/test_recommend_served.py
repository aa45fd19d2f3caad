"""What the ranker of shelves learns from and what it is told in service are the same, to the last bit."""

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy.stats import spearmanr

from build.settings import Compression, ShelfSettings, Training
from build.shelf import learn as learning
from build.shelf.interactions import Interactions
from build.shelf.learn import Behaviour, learn
from build.shelf.ranker import Knowledge
from build.shelf.split import KEPT, cases
from shelfbridge.catalogue import Catalogue, Product
from shelfbridge.contract import SHELF_SIGNALS
from shelfbridge.profiles import Event, Profile
from shelfbridge.profiles.sqlite import SQLiteStore
from shelfbridge.profiles.store import RETENTION_DAYS
from shelfbridge.release import Release
from shelfbridge.retrieval import ProductStore
from shelfbridge.retrieval.facets import Facets
from shelfbridge.retrieval.vectors import write_vectors
from shelfbridge.shelf.assortment import Assortment
from shelfbridge.shelf.history import BUY, DAY, KINDS, History, Shopper
from shelfbridge.shelf.shopper import shopper_of
from shelfbridge.shelf.signals import candidates, signals
from tests.unit.profile_events import NAMES, NUMBERS
from tests.unit.recommend_shop import NOW, shop, texts

QUIET = Console(quiet=True)
SETTINGS = ShelfSettings(training=Training(epochs=2, batch=64, learning_rate=1e-2), refresh=1, head_epochs=4, weeks=2)
PRICE = SHELF_SIGNALS.index("price")


def kept(store: SQLiteStore, history: History, name: Callable[[int], str]) -> Profile:
    """The profile of somebody who did what a history tells, each event on its own."""
    store.clock = lambda: float(history.now)
    user = f"u{next(NUMBERS)}"
    events = [
        NAMES.record(Event(event_id=f"e{at}", user=user, kind=KINDS[kind], product_id=name(item), time=float(time)))
        for at, (item, time, kind) in enumerate(
            zip(history.items.tolist(), history.times.tolist(), history.kinds.tolist(), strict=True)
        )
    ]
    assert store.put(events) == []
    return store.profile(NAMES.of(user))


def assert_same(one: Shopper, other: Shopper) -> None:
    for some, others in ((one.recent, other.recent), (one.owned, other.owned)):
        for name, value in vars(some).items():
            assert np.array_equal(value, getattr(others, name)), name
            assert getattr(value, "dtype", int) == getattr(getattr(others, name), "dtype", int), name


@dataclass
class Built:
    """A shelf that was learned and lies in a release, and what it was learned by."""

    release: Path
    knowledge: Knowledge
    interactions: Interactions

    def assortment(self) -> Assortment:
        """What a server reads of it."""
        homes = {"index": "retrieve", "store": "postprocess", "shelf": "shelf_candidates"}
        folders = {part: self.release / home / "1" for part, home in homes.items()}
        return Release(folders, ["assortment"]).now().assortment

    def now(self) -> int:
        """The moment of the release."""
        return int(self.interactions.time[-1]) + 1

    def histories(self) -> list[History]:
        """Of all shoppers, at that moment."""
        found = []
        for user in range(len(self.interactions.users)):
            own = self.interactions.where(self.interactions.user == user)
            # A product counts once a moment in training, and once an event in a profile
            once = np.unique(np.stack([own.time, own.item], 1), axis=0, return_index=True)[1]
            own = own.where(np.isin(np.arange(len(own)), once))
            found.append(History(self.now(), own.item, own.time, np.full(len(own), BUY, np.int64)))
        return found


def build(folder: Path, known: Interactions) -> Built:
    """Learn a shelf of a catalogue that has other prices than its shoppers paid, and of one product in five none."""
    products = tuple(
        Product(product_id=name, title=name, price=None if number % 5 == 4 else 3.0 + 10 * (number % 7), stock=1)
        for number, name in enumerate(known.items)
    )
    index = folder / "retrieve" / "1"
    index.mkdir(parents=True)
    write_vectors(index, texts())
    Facets.write(index / "facets", products)
    ProductStore.write(folder / "postprocess" / "1", products)
    held = []
    with pytest.MonkeyPatch.context() as patch:
        write = learning._write_products
        patch.setattr(learning, "_write_products", lambda *some, **more: (held.append(some[1]), write(*some, **more)))
        behaviour = Behaviour.of(known, Catalogue(products))
        learn(
            folder,
            behaviour=behaviour,
            index=index,
            prices=np.array([product.price for product in products], np.float32),
            settings=SETTINGS,
            compression=Compression(methods=("percentile",), budget=0.02, half=False, precision="fp32"),
            place="faiss",
            console=QUIET,
        )
    parts = [*(folder / "shelf_candidates").iterdir()]
    (folder / "shelf_candidates" / "1").mkdir()
    for part in parts:
        shutil.move(part, folder / "shelf_candidates" / "1" / part.name)
    return Built(folder, held[0], behaviour.interactions)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    return build(tmp_path_factory.mktemp("release"), shop())


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Built:
    """Of interactions with the least columns: nobody knows what was paid."""
    known = shop()
    return build(tmp_path_factory.mktemp("release"), replace(known, price=np.full(len(known), np.nan, np.float32)))


def test_training_and_service_are_told_the_same(built, tmp_path):
    assortment = built.assortment()
    knowledge, histories = built.knowledge, built.histories()
    vectors = knowledge.users.vectors(histories)
    lists = knowledge.lists(histories, QUIET)
    dearer = 0
    with closing(SQLiteStore(tmp_path / "profiles.db", retention_days=RETENTION_DAYS, timeout=2)) as store:
        for history, vector, (rows, table) in zip(histories, vectors, lists, strict=True):
            profile = kept(store, history, built.interactions.items.__getitem__)
            shopper = shopper_of(profile, [], assortment.row, history.now)
            assert_same(shopper, Shopper.of(history))
            served = candidates(shopper, vector, assortment, assortment.demand)
            assert served.tolist() == rows.tolist()
            told = signals(shopper, vector, served, assortment, assortment.demand)
            assert told.dtype == table.dtype
            assert told.tobytes() == table.tobytes()
            dearer += np.count_nonzero(told[:, PRICE])
    assert len(histories) == 60
    assert dearer > 100


@pytest.mark.parametrize("which", ["built", "bare"])
def test_prices_are_the_catalogues_in_training_and_in_service(which, request):
    one = request.getfixturevalue(which)
    listed = [np.nan if number % 5 == 4 else 3.0 + 10 * (number % 7) for number in range(len(one.interactions.items))]
    assert np.array_equal(one.knowledge.products.prices, np.array(listed, np.float32), equal_nan=True)
    served = one.assortment().prices
    assert served.tobytes() == one.knowledge.products.prices.tobytes()


def test_without_prices_of_interactions_the_score_does_not_follow_the_price(bare):
    """The ranker that is served, over the catalogue's prices; it did, with a rank correlation of -1."""
    ranker = onnxruntime.InferenceSession(bare.release / "shelf_ranker" / "model.onnx")
    assert bare.knowledge.products.prices[0] == 3
    follows = []
    for _, table in bare.knowledge.lists(bare.histories(), QUIET):
        padded = np.zeros((1, 400, len(SHELF_SIGNALS)), np.float32)
        padded[0, : len(table)] = table
        (scores,) = ranker.run(["shelf_scores"], {"shelf_signals": padded})
        follows.append(spearmanr(scores[0, : len(table)], table[:, PRICE]).statistic)
    assert abs(np.mean(follows)) < 0.5


@given(
    st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 40), st.sampled_from(KINDS)), max_size=140),
    st.sampled_from([1, 7, 300]),
)
@settings(max_examples=25, deadline=None)
def test_a_profile_is_the_history_that_training_has(tmp_path_factory, steps, spread):
    """Whatever was done, at whole seconds, however much; what is of one moment is of different products."""
    steps = {(ago * spread, item): kind for ago, item, kind in steps}
    rows = sorted(((NOW - ago, item, kind) for (ago, item), kind in steps.items()), key=lambda row: row[0])
    times, items, kinds = zip(*rows, strict=True) if rows else ((), (), ())
    history = History(
        NOW,
        np.array(items, np.int32),
        np.array(times, np.int64),
        np.array([KINDS.index(kind) for kind in kinds], np.int64),
    )
    file = tmp_path_factory.mktemp("store") / "profiles.db"
    with closing(SQLiteStore(file, retention_days=RETENTION_DAYS, timeout=2)) as store:
        profile = kept(store, history, lambda item: f"p{item}")
    assert_same(shopper_of(profile, [], lambda name: int(name[1:]), NOW), Shopper.of(history))


def test_training_knows_nothing_that_a_profile_has_let_go():
    known = shop(days=700)
    for case in cases(known, NOW - 60 * DAY, NOW):
        assert (case.history.times >= case.history.now - KEPT).all()
    assert min(known.time) < NOW - KEPT - 60 * DAY
