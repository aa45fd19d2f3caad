"""The index as the steps read it: what is found, in which order, with which signals, and what damage does."""

from itertools import pairwise
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfbridge.catalogue import Product
from shelfbridge.contract import CANDIDATES, SIGNALS, TOKEN_WIDTH
from shelfbridge.errors import ArtefactError
from shelfbridge.request import Filters
from shelfbridge.retrieval import CandidateIndex, ProductPairs, ProductStore
from shelfbridge.retrieval.index import DEPTH, RRF_K, fuse
from shelfbridge.retrieval.ragged import load

WIDTH = 8


def unit(rows: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((rows, WIDTH)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def write_index(folder: Path, products: list[Product]) -> CandidateIndex:
    random = np.random.default_rng(1)
    tokens = [random.integers(-127, 128, (1 + row % 5, TOKEN_WIDTH), np.int8) for row in range(len(products))]
    CandidateIndex.write(folder, products, unit(len(products)), tokens)
    return CandidateIndex.open(folder)


def shop(count: int) -> list[Product]:
    """Shoes of "acme" in "Shoes" at 10.0; every hundredth is a tent of "Zelt" at 20.0, out of stock."""
    return [
        Product(product_id=f"p{row}", title=f"tent {row}", brand="Zelt", category="Out > Tents", price=20, stock=0)
        if row % 100 == 50
        else Product(product_id=f"p{row}", title=f"red shoe {row}", brand="acme", category="Shoes", price=10, stock=3)
        for row in range(count)
    ]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return write_index(tmp_path_factory.mktemp("index"), shop(1000))


def found(index: CandidateIndex, text: str, filters: Filters | None = None) -> list[int]:
    rows = index.search(text, unit(1, seed=5)[0], filters or Filters()).rows
    return rows[rows >= 0].tolist()


class TestSearch:
    def test_hands_over_the_agreed_shapes(self, index):
        candidates = index.search("red shoe", unit(1)[0])
        assert (candidates.rows.shape, candidates.rows.dtype) == ((CANDIDATES,), np.int32)
        assert (candidates.signals.shape, candidates.signals.dtype) == ((CANDIDATES, len(SIGNALS)), np.float32)
        assert (candidates.tokens.shape, candidates.tokens.dtype) == ((CANDIDATES, 5, TOKEN_WIDTH), np.int8)
        assert (candidates.lengths.shape, candidates.lengths.dtype) == ((CANDIDATES,), np.int32)
        assert np.isfinite(candidates.signals).all()

    def test_finds_a_product_by_its_word(self, index):
        assert 550 in found(index, "tent 550")

    def test_gives_no_product_twice(self, index):
        rows = found(index, "red shoe")
        assert len(rows) == len(set(rows)) == CANDIDATES

    def test_gives_each_candidate_its_own_token_vectors(self, index):
        candidates = index.search("red shoe", unit(1)[0])
        for place in (0, 1, 50):
            stored = index.tokens[candidates.rows[place]]
            np.testing.assert_array_equal(candidates.tokens[place, : candidates.lengths[place]], stored)
            assert not candidates.tokens[place, candidates.lengths[place] :].any()

    def test_the_dense_side_is_exact(self, index):
        query = unit(1, seed=3)[0]
        expected = np.argsort(-(unit(1000) @ query), kind="stable")[:DEPTH]
        np.testing.assert_array_equal(index.dense(query), expected)

    @pytest.mark.parametrize("seed", [0, 1])
    def test_the_filtered_dense_side_is_exact_too(self, index, seed):
        query = unit(1, seed=3)[0]
        allowed = np.random.default_rng(seed).random(1000) < 0.1
        order = np.argsort(-(unit(1000) @ query), kind="stable")
        np.testing.assert_array_equal(index.dense(query, allowed), order[allowed[order]][:DEPTH])

    def test_without_a_known_word_the_dense_side_answers(self, index):
        assert len(found(index, "zeppelin")) == CANDIDATES

    def test_signals_are_in_the_order_of_the_contract(self, index):
        query = unit(1, seed=4)[0]
        candidates = index.search("red shoe", query)
        columns = dict(zip(SIGNALS, candidates.signals.T, strict=True))
        rows = candidates.rows
        np.testing.assert_allclose(columns["cosine"], unit(1000)[rows] @ query, atol=1e-6)
        shoes = rows % 100 != 50
        np.testing.assert_allclose(columns["coverage"], shoes, atol=1e-6)
        np.testing.assert_allclose(columns["coverage_title"], shoes, atol=1e-6)
        assert (columns["bm25"][shoes] > 0).all()
        assert len(set(columns["bm25"][shoes].tolist())) == 1

    def test_signals_grow_with_popularity(self, tmp_path):
        counts = (None, 9, 999_999)
        products = [Product(product_id=str(n), title="mug", rating_count=count) for n, count in enumerate(counts)]
        candidates = write_index(tmp_path, products).search("mug", unit(1)[0])
        popularity = candidates.signals[np.argsort(candidates.rows[:3]), SIGNALS.index("popularity")]
        assert popularity[0] == 0
        assert popularity[0] < popularity[1] < popularity[2]


class TestFilters:
    @pytest.mark.parametrize(
        "filters",
        [
            Filters(category="tents"),
            Filters(category=" OUT "),
            Filters(brand="ZELT"),
            Filters(brand="Ｚｅｌｔ"),
            Filters(price_min=10.01),
            Filters(price_min=20, price_max=20),
            Filters(category="tents", brand="zelt"),
        ],
    )
    def test_apply_before_the_best_are_cut_out(self, index, filters):
        assert sorted(found(index, "red shoe", filters)) == list(range(50, 1000, 100))

    def test_pad_what_they_leave(self, index):
        candidates = index.search("red shoe", unit(1)[0], Filters(category="tents"))
        assert candidates.rows[10:].tolist() == [-1] * (CANDIDATES - 10)
        assert not candidates.lengths[10:].any()
        assert not candidates.tokens[10:].any()
        assert not candidates.signals[10:].any()
        assert candidates.tokens.shape[1] == 1  # rows 50, 150, … hold one token vector each

    @pytest.mark.parametrize(
        "filters",
        [
            Filters(category="zeppelins"),
            Filters(brand=""),
            Filters(price_min=21),
            Filters(price_max=0),
            Filters(category="tents", in_stock=True),
            Filters(category="tents", brand="acme"),
        ],
    )
    def test_may_leave_nothing(self, index, filters):
        candidates = index.search("tent", unit(1)[0], filters)
        assert (candidates.rows == -1).all()
        assert candidates.tokens.shape == (CANDIDATES, 1, TOKEN_WIDTH)
        assert np.isfinite(candidates.signals).all()

    def test_out_of_stock_is_left_out_only_on_demand(self, index):
        assert 50 in found(index, "tent", Filters(in_stock=False))
        assert 50 not in found(index, "tent", Filters(in_stock=True))

    def test_what_is_not_known_fails_a_price_and_passes_a_stock(self, tmp_path):
        products = [Product(product_id="a", title="mug"), Product(product_id="b", title="mug", price=5, stock=0)]
        index = write_index(tmp_path, products)
        assert found(index, "mug", Filters(price_min=0)) == [1]
        assert found(index, "mug", Filters(price_max=1e9)) == [1]
        assert found(index, "mug", Filters(price_max=1e308)) == [1]
        assert found(index, "mug", Filters(price_min=1e308)) == []
        assert found(index, "mug", Filters(in_stock=True)) == [0]

    def test_a_price_is_met_to_the_cent(self, tmp_path):
        index = write_index(tmp_path, [Product(product_id="a", title="mug", price=19.99)])
        assert found(index, "mug", Filters(price_min=19.99, price_max=19.99)) == [0]
        assert found(index, "mug", Filters(price_max=19.98)) == []


class TestSmallCatalogues:
    @pytest.mark.parametrize("count", [1, 2, CANDIDATES - 1, CANDIDATES, DEPTH - 1, DEPTH + 1])
    def test_are_found_whole_and_padded(self, tmp_path, count):
        index = write_index(tmp_path, shop(count))
        rows = found(index, "red shoe")
        assert len(rows) == min(count, CANDIDATES)
        assert len(set(rows)) == len(rows)

    @pytest.mark.parametrize("titles", [["🎁"], ["🎁", "—", "♥♥"], ["🎁", "red mug"]])
    def test_of_titles_without_a_word_are_found(self, tmp_path, titles):
        products = [Product(product_id=str(row), title=title) for row, title in enumerate(titles)]
        candidates = write_index(tmp_path, products).search("🎁", unit(1)[0])
        assert sorted(candidates.rows[: len(titles)].tolist()) == list(range(len(titles)))
        assert np.isfinite(candidates.signals).all()


class TestFuse:
    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.lists(st.integers(0, 30), unique=True), min_size=1, max_size=3))
    def test_is_reciprocal_rank_fusion(self, rankings):
        scores: dict[int, float] = {}
        for ranking in rankings:
            for place, row in enumerate(ranking, start=1):
                scores[row] = scores.get(row, 0) + 1 / (RRF_K + place)
        fused = fuse(*(np.array(ranking, np.int64) for ranking in rankings)).tolist()
        assert sorted(fused) == sorted(scores)
        for first, second in pairwise(fused):
            assert (-scores[first], first) < (-scores[second], second) or scores[first] == pytest.approx(
                scores[second], abs=1e-15
            )

    def test_breaks_ties_by_row(self):
        assert fuse(np.array([9, 4, 7]), np.array([4, 9, 2])).tolist() == [4, 9, 2, 7]


class TestDamage:
    @pytest.fixture
    def files(self, tmp_path):
        write_index(tmp_path / "index", shop(20))
        ProductPairs.write(tmp_path / "pairs", [np.arange(4)] * 20)
        ProductStore.write(tmp_path / "store", shop(20))
        return tmp_path

    @staticmethod
    def open_all(folder: Path) -> None:
        CandidateIndex.open(folder / "index")
        ProductPairs.open(folder / "pairs")
        ProductStore.open(folder / "store")

    NAMES = (
        "index/vectors.faiss",
        "index/lexicon/statics.npy",
        "index/tokens.npy",
        "index/tokens.offsets.npy",
        "index/lexicon/fields/weights.npy",
        "index/lexicon/terms.digests.npy",
        "index/lexicon/spelling.npy",
        "index/facets/brand.npy",
        "index/facets/category_names.npy",
        "index/facets/by_price.npy",
        "pairs/pieces.npy",
        "store/ids.npy",
        "store/payloads.offsets.npy",
    )

    @pytest.mark.parametrize("name", NAMES)
    def test_a_missing_file_is_named(self, files, name):
        self.open_all(files)
        (files / name).unlink()
        with pytest.raises(ArtefactError, match=f"{files / name} cannot be read.*build the release again"):
            self.open_all(files)

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("how", ["cut", "emptied", "overwritten"])
    def test_a_damaged_file_is_named(self, files, name, how):
        whole = (files / name).read_bytes()
        (files / name).write_bytes({"cut": whole[:-3], "emptied": b"", "overwritten": b"<html>" * 30}[how])
        with pytest.raises(ArtefactError, match=f"{files / name} cannot be read.*build the release again"):
            self.open_all(files)

    def test_a_pickle_is_not_opened(self, tmp_path):
        np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
        with pytest.raises(ArtefactError):
            load(tmp_path / "x.npy")

    def test_vectors_are_read_as_written(self, files):
        assert faiss.read_index(str(files / "index/vectors.faiss")).ntotal == 20
