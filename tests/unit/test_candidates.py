"""A search and its filters against a plain reference that looks at every product: the same to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfbridge.catalogue import Product
from shelfbridge.contract import SIGNALS, STORED_TOKENS, TOKEN_WIDTH
from shelfbridge.request import Filters
from shelfbridge.retrieval import CandidateIndex
from shelfbridge.retrieval import best as best_module
from shelfbridge.retrieval.facets import Facets
from tests.unit.plain_search import Reference, goods, passes

WIDTH = 16
QUERIES = (
    "desk chair",
    "chair without wheels",
    "waterprof hikng boots",
    "red water bottle for kids with 2.5 l",
    "non-stick kettle no handles",
    "for",
    "for the kids with wheels made of oak",
    "zeppelin",
    "64gb lamp 100",
    "chair chair wheels without wheels",
)


@pytest.fixture(scope="module")
def golden(tmp_path_factory) -> tuple[CandidateIndex, Reference, np.ndarray]:
    products, random = goods(900), np.random.default_rng(4)
    vectors = random.standard_normal((len(products) + len(QUERIES), WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths = random.integers(1, STORED_TOKENS + 1, len(products))
    tokens = [random.integers(-127, 128, (length, TOKEN_WIDTH), np.int8) for length in lengths]
    folder = tmp_path_factory.mktemp("golden")
    kept = vectors[: len(products)]
    CandidateIndex.write(folder, products, kept, tokens)
    return CandidateIndex.open(folder), Reference(products, kept, tokens), vectors[len(products) :]


FILTERS = (
    Filters(),
    Filters(category="boots"),
    Filters(brand="acme", category="Home", in_stock=True),
    Filters(price_min=20, price_max=22),
    Filters(price_max=1e6),
    Filters(brand="none such"),
)


@pytest.mark.parametrize("filters", FILTERS, ids=lambda filters: filters.model_dump_json(exclude_none=True))
@pytest.mark.parametrize("long", [best_module.LONG, 0], ids=["read whole", "left partly unread"])
def test_a_search_gives_what_a_look_at_all_products_gives(golden, filters, long, monkeypatch):
    monkeypatch.setattr(best_module, "LONG", long)
    index, reference, queries = golden
    for text, query in zip(QUERIES, queries, strict=True):
        found, expected = index.search(text, query, filters), reference.search(text, query, filters)
        count = len(expected["rows"])
        np.testing.assert_array_equal(found.rows[:count], expected["rows"], err_msg=text)
        assert (found.rows[count:] == -1).all()
        words = slice(0, SIGNALS.index("cosine"))
        np.testing.assert_array_equal(found.signals[:count, words], expected["signals"][:, words], err_msg=text)
        np.testing.assert_allclose(found.signals[:count], expected["signals"], atol=1e-6)
        np.testing.assert_array_equal(found.tokens, expected["tokens"], err_msg=text)
        chosen = reference.vectors[expected["rows"]]
        np.testing.assert_allclose(found.cosines[:count, :count], chosen @ chosen.T, atol=1e-6)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    products = [*goods(500, seed=9), Product(product_id="to the cent", title="mug", price=19.99, brand="Acme")]
    folder = tmp_path_factory.mktemp("facets") / "facets"
    Facets.write(folder, products)
    return Facets.open(folder), products


class TestFacets:
    @settings(deadline=None, max_examples=60)
    @given(
        filters=st.builds(
            Filters,
            category=st.sampled_from([None, "Home", "lamps", "none"]),
            brand=st.sampled_from([None, "ACME", "oak & co", ""]),
            price_min=st.sampled_from([None, 0.0, 19.99, 40.0]),
            price_max=st.sampled_from([None, 40.0, 40.5, 1000.0]),
            in_stock=st.sampled_from([None, False, True]),
        )
    )
    def test_pass_what_a_look_at_each_product_passes(self, shop, filters):
        facets, products = shop
        allowed = facets.allowed(filters)
        if filters in (Filters(), Filters(in_stock=False)):
            assert allowed is None
        else:
            assert allowed.tolist() == [passes(product, filters) for product in products]

    def test_pass_a_price_to_the_cent(self, shop):
        facets, products = shop
        passing = np.flatnonzero(facets.allowed(Filters(price_min=19.99, price_max=19.99)))
        assert products[-1].price == 19.99
        assert passing.tolist() == [row for row, product in enumerate(products) if product.price == 19.99]
