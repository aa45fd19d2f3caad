"""What a shelf reads of products: as written, through filters, and after changes of the catalogue."""

import numpy as np
import pytest

from build.change import change
from shelfbridge.catalogue import Product
from shelfbridge.contract import SHELF_SIGNALS, SHELF_WIDTH
from shelfbridge.errors import ArtefactError
from shelfbridge.profiles import Bought, Profile, Recent
from shelfbridge.release import Release
from shelfbridge.request import Filters
from shelfbridge.shelf.demand import LiveDemand
from shelfbridge.shelf.gather import gather, shown
from shelfbridge.shelf.history import Owned, Shopper
from shelfbridge.shelf.products import ShelfProducts
from shelfbridge.shelf.request import ShelfRequest
from shelfbridge.shelf.shopper import shopper_of
from shelfbridge.shelf.signals import signals
from tests.functional import tiny
from tests.functional.tiny_release import publish_tiny

SHOE, LAMP, MUG = "arden-red-running-shoes-1", "arden-red-desk-lamp-1", "arden-red-coffee-mug-1"


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return publish_tiny(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def assortment(release):
    return Release.open(release / "shelf" / "1", ["assortment"]).now().assortment


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """A shop in which a lamp got another price, a shoe was deleted, another lamp is new; before and after."""
    release = publish_tiny(tmp_path_factory.mktemp("changed"))
    opened = Release.open(release / "shelf" / "1", ["assortment"])
    was = opened.now().assortment
    lamp = next(product for product in tiny.catalogue() if product.product_id == LAMP)
    new = Product(product_id="new-lamp", title="red desk lamp 1", price=3.0, category=lamp.category, stock=5)
    change(release, upsert=[lamp.model_copy(update={"price": 999.0}), new], delete=[SHOE])
    opened.refresh()
    return was, opened.now().assortment


class TestAsReleased:
    def test_rows_are_those_of_the_index(self, assortment):
        products = tiny.catalogue()
        assert len(assortment) == len(products)
        assert [assortment.row(product.product_id) for product in products] == list(range(len(products)))
        assert assortment.row("nobody sells this") == -1
        rows = np.array([3, 0, 3])
        assert assortment.index_rows(rows).tolist() == assortment.rows_of(rows).tolist() == [3, 0, 3]

    def test_what_was_written_is_read(self, assortment):
        assert assortment.vectors[np.array([1, 0])].shape == (2, 64)
        assert np.linalg.norm(assortment.texts[np.arange(5)], axis=1) == pytest.approx(1)
        assert assortment.demand.lately[0] > assortment.demand.lately[1]
        assert assortment.prices[0] == pytest.approx(tiny.catalogue()[0].price)

    def test_nearest_is_by_inner_product_among_what_is_allowed(self, assortment):
        user = assortment.vectors[np.array([7])][0]
        scores = assortment.vectors[np.arange(len(assortment))] @ user
        assert set(assortment.nearest(user, 5, None)) == set(np.argsort(-scores)[:5])
        allowed = np.arange(len(assortment)) % 2 == 0
        best = [row for row in np.argsort(-scores) if allowed[row]][:5]
        assert set(assortment.nearest(user, 5, allowed)) == set(best)

    def test_sold_out_products_are_not_allowed_unless_asked_for(self, assortment):
        stock = np.array([product.stock for product in tiny.catalogue()], float)
        assert assortment.allowed(Filters()).tolist() == (stock != 0).tolist()
        assert assortment.allowed(Filters(in_stock=False)).all()
        arden = assortment.allowed(Filters(brand="arden", price_max=6))
        assert 0 < arden.sum() < 50

    def test_a_product_that_is_alike(self, assortment):
        allowed = np.ones(len(assortment), bool)
        near = assortment.alike(assortment.row(LAMP), 10, allowed)
        assert all("desk-lamp" in name for name in assortment.store.ids(near))

    def test_a_missing_file_is_named(self, release, tmp_path):
        with pytest.raises(ArtefactError, match="build the release again"):
            ShelfProducts.open(tmp_path)


class TestAfterChanges:
    def test_a_product_keeps_its_row_whatever_changes(self, changed):
        was, now = changed
        assert now.row(LAMP) == was.row(LAMP)
        row = np.array([now.row(LAMP)])
        assert now.vectors[row].tolist() == was.vectors[row].tolist()
        assert now.demand.lately[row] == was.demand.lately[row]
        (payload,) = now.store.payloads(now.index_rows(row))
        assert b"999" in payload

    def test_what_is_new_has_a_vector_by_its_text(self, changed):
        was, now = changed
        row = now.row("new-lamp")
        assert row == len(was)
        assert was.row("new-lamp") == -1
        lamp = now.vectors[np.array([now.row(LAMP)])][0]
        assert row in now.nearest(lamp, 40, None)
        assert now.store.ids(now.index_rows(np.array([row]))) == ["new-lamp"]
        assert now.prices[row] == 3
        assert len(now.prices) == len(now)
        assert now.demand.lately[row] == 0
        assert not now.companions.spread(np.array([row], np.int32), np.ones(1, np.float32)).any()

    def test_what_is_gone_is_not_allowed(self, changed):
        was, now = changed
        row = was.row(SHOE)
        assert was.allowed(Filters())[row]
        assert not now.allowed(Filters())[row]
        assert not now.allowed(Filters(in_stock=False))[row]
        assert not len(now.alike(row, 5, np.ones(len(now), bool)))

    def test_filters_see_the_new_price(self, changed):
        was, now = changed
        dear = Filters(price_min=900)
        assert not was.allowed(dear).any()
        assert np.flatnonzero(now.allowed(dear)).tolist() == [now.row(LAMP)]

    def test_signals_see_the_new_price(self, changed):
        was, now = changed
        lamp, mug = was.row(LAMP), was.row(MUG)
        mugs = Owned(np.array([mug], np.int32), *(np.ones(1, kind) for kind in (np.int64, np.float32, np.float32)))
        shopper = Shopper(shopper_of(Profile(), [MUG], was.row, 0).recent, mugs)
        rows = np.array([lamp, mug], np.int32)
        told = [
            signals(shopper, np.ones(SHELF_WIDTH, np.float32), rows, one, one.demand)[:, SHELF_SIGNALS.index("price")]
            for one in (was, now)
        ]
        assert told[1][0] - told[0][0] == pytest.approx(np.log(999 / was.prices[lamp]), abs=1e-5)
        assert told[1][1] == told[0][1]

    def test_rows_of_the_index_are_found_back(self, changed):
        _, now = changed
        rows = np.array([now.row(LAMP), now.row("new-lamp"), 0])
        assert now.rows_of(now.index_rows(rows)).tolist() == rows.tolist()


def owner(assortment, *products: str, carted: str = "") -> Shopper:
    """Who bought some products, and has one in the cart."""
    profile = Profile(
        (Recent(carted, "cart", 5.0),) if carted else (), {name: Bought(2, 2, 1.0, 2.0) for name in products}
    )
    return shopper_of(profile, [], assortment.row, 10)


class TestKinds:
    def test_a_stranger_is_shown_what_is_popular(self, assortment):
        stranger, looking = (shopper_of(Profile(), items, assortment.row, 10) for items in ([], [SHOE]))
        for shopper, wanted in (
            (stranger, ("popular", "popular", "popular", "goes_with")),
            (looking, ("for_you", "popular", "popular", "goes_with")),
        ):
            kinds = ("for_you", "buy_again", "popular", "goes_with")
            assert tuple(shown(kind, shopper, assortment, Filters()) for kind in kinds) == wanted

    def test_what_was_bought_and_is_gone_leaves_what_is_popular(self, changed):
        was, now = changed
        for one, wanted in ((was, "buy_again"), (now, "popular")):
            shopper = owner(one, SHOE)
            kind = shown("buy_again", shopper, one, Filters())
            assert kind == wanted
            found = gather(ShelfRequest(kind=kind), shopper, np.zeros(SHELF_WIDTH, np.float32), one, one.demand)
            assert (len(found) == 1) == (one is was)
            assert len(found)
            assert one.sells(found).all()
        assert shown("buy_again", owner(now, SHOE, LAMP), now, Filters()) == "buy_again"

    @pytest.mark.parametrize(
        ("bought", "carted", "filters"),
        [
            ("arden-red-desk-lamp-0", "", Filters()),  # sold out
            (LAMP, LAMP, Filters()),
            (LAMP, "", Filters(brand="Birch")),
        ],
    )
    def test_so_does_what_may_not_be_shown(self, assortment, bought, carted, filters):
        assert shown("buy_again", owner(assortment, bought, carted=carted), assortment, filters) == "popular"


class TestDemand:
    def test_whichever_knows_more_is_believed(self, assortment):
        last = len(assortment) - 1
        name = assortment.store.ids([last])[0]
        live = LiveDemand(lambda now, most: [(name, 5000.0), ("unknown", 9.0)])
        found = live.now(assortment)
        assert found.lately[last] == found.long[last] == 500
        assert found.lately[:last].tolist() == assortment.demand.lately[:last].tolist()
        assert assortment.demand.lately[last] < 1

    def test_the_store_is_asked_once_a_second(self, assortment):
        asked = []
        live = LiveDemand(lambda now, most: asked.append(now) or [])
        for _ in range(50):
            live.now(assortment)
        assert len(asked) == 1
