"""What is stored per product: ragged rows, word pieces in pairs, ids and payloads."""

import json

import numpy as np
import pytest

from shelfbridge.catalogue import Product
from shelfbridge.contract import CANDIDATES, PAIR_TOKENS, SHORTLIST
from shelfbridge.errors import ArtefactError
from shelfbridge.retrieval import ProductPairs, ProductStore
from shelfbridge.retrieval.ragged import Ragged


class TestRagged:
    def test_gives_back_its_rows(self, tmp_path):
        rows = [np.arange(6, dtype=np.int8).reshape(3, 2), np.empty((0, 2), np.int8), np.ones((1, 2), np.int8)]
        Ragged.write(tmp_path, "x", rows)
        ragged = Ragged.open(tmp_path, "x")
        assert len(ragged) == 3
        for row, values in enumerate(rows):
            np.testing.assert_array_equal(ragged[row], values)

    def test_pads_with_zeros(self, tmp_path):
        Ragged.write(tmp_path, "x", [np.array([1, 2, 3]), np.array([4])])
        values, lengths = Ragged.open(tmp_path, "x").padded(np.array([1, -1, 0]))
        assert values.tolist() == [[4, 0, 0], [0, 0, 0], [1, 2, 3]]
        assert lengths.tolist() == [1, 0, 3]

    @pytest.mark.parametrize("rows", [[-1, -1], []])
    def test_pads_nothing_to_length_one(self, tmp_path, rows):
        Ragged.write(tmp_path, "x", [np.ones((2, 4))])
        values, lengths = Ragged.open(tmp_path, "x").padded(np.array(rows, np.int64))
        assert values.shape == (len(rows), 1, 4)
        assert not values.any()
        assert not lengths.any()

    @pytest.mark.parametrize("offsets", [[0, 2], [0, 4], []])
    def test_refuses_offsets_of_another_array(self, tmp_path, offsets):
        Ragged.write(tmp_path, "x", [np.array([1, 2, 3])])
        np.save(tmp_path / "x.offsets.npy", np.array(offsets, np.int64))
        with pytest.raises(ArtefactError, match=r"x\.npy does not belong to its offsets file; build"):
            Ragged.open(tmp_path, "x")


class TestProductPairs:
    CLS, SEP = 2, 3

    @pytest.fixture
    def pairs(self, tmp_path):
        """Product r has r pieces numbered from 100 r, then [SEP]; product 9 is longer than a pair may be."""
        pieces = [[*range(100 * r, 100 * r + r), self.SEP] for r in range(9)] + [[*range(900, 1100), self.SEP]]
        ProductPairs.write(tmp_path, [np.array(p) for p in pieces])
        return ProductPairs.open(tmp_path)

    def test_lays_query_and_product_side_by_side(self, pairs):
        ids, types, mask = pairs.pair(np.array([self.CLS, 50, self.SEP]), np.array([2, 0, -1], np.int32))
        assert ids.tolist() == [[2, 50, 3, 200, 201, 3], [2, 50, 3, 3, 0, 0], [2, 50, 3, 0, 0, 0]]
        assert types.tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0]]
        assert mask.tolist() == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0]]
        assert ids.dtype == types.dtype == mask.dtype == np.int64

    @pytest.mark.parametrize("length", [3, 64])
    def test_cuts_the_product_where_the_pair_is_full(self, pairs, length):
        query = np.full(length, 7)
        ids, _, mask = pairs.pair(query, np.array([9], np.int32))
        assert ids.shape == (1, PAIR_TOKENS)
        assert mask.all()
        assert ids[0, length:].tolist() == list(range(900, 900 + PAIR_TOKENS - length))

    def shortlist(self, pairs, rows, scores):
        padding = CANDIDATES - len(rows)
        return pairs.shortlist(
            np.array([self.CLS, 50, self.SEP, 0, 0]),
            np.array([1, 1, 1, 0, 0]),
            np.array([*rows, *[-1] * padding], np.int32),
            np.array([*scores, *[99.0] * padding], np.float32),
        )

    def test_orders_by_score_then_row_and_padding_last(self, pairs):
        made = self.shortlist(pairs, rows=[4, 7, 1, 6], scores=[0.5, 2.0, 0.5, -1.0])
        assert made.rows.tolist() == [7, 1, 4, 6] + [-1] * (CANDIDATES - 4)
        assert made.scores[:4].tolist() == [2.0, 0.5, 0.5, -1.0]
        assert made.rows.dtype == np.int32
        assert made.scores.dtype == np.float32

    def test_pairs_the_best_with_the_query_less_its_padding(self, pairs):
        made = self.shortlist(pairs, rows=[1, 2], scores=[0.0, 1.0])
        assert made.pair_ids.shape == made.pair_types.shape == made.pair_mask.shape == (SHORTLIST, 6)
        assert made.pair_ids[0].tolist() == [2, 50, 3, 200, 201, 3]
        assert made.pair_ids[1].tolist() == [2, 50, 3, 100, 3, 0]
        assert made.pair_mask.sum(1).tolist() == [6, 5] + [3] * (SHORTLIST - 2)

    def test_takes_an_answer_of_nothing(self, pairs):
        made = self.shortlist(pairs, rows=[], scores=[])
        assert (made.rows == -1).all()
        assert made.pair_mask.sum(1).tolist() == [3] * SHORTLIST


class TestProductStore:
    PRODUCTS = (
        Product(
            product_id="p1", title='红色 "跑步鞋" \\ 👟', brand="Ünï", category="A > B", price=9.5, stock=0, rating=4
        ),
        Product(product_id="محصول Ａ", title="x", description="long", bullet_points="longer"),
    )

    @pytest.fixture
    def store(self, tmp_path):
        ProductStore.write(tmp_path, self.PRODUCTS)
        return ProductStore.open(tmp_path)

    def test_gives_ids_by_row(self, store):
        assert store.ids([1, 0, 1]) == ["محصول Ａ", "p1", "محصول Ａ"]

    def test_gives_payloads_as_json_without_what_is_not_known(self, store):
        first, second = (json.loads(payload.decode("utf-8")) for payload in store.payloads([0, 1]))
        assert first == {
            "title": '红色 "跑步鞋" \\ 👟',
            "brand": "Ünï",
            "category": ["A", "B"],
            "price": 9.5,
            "stock": 0,
            "rating": 4.0,
        }
        assert second == {"title": "x"}
