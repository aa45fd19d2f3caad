"""Products that are added, changed and deleted while a release is served: what a search sees of it."""

import json

import numpy as np
import pytest

from build.change import change, status
from build.release import later
from shelfbridge.catalogue import Product
from shelfbridge.changes import changes_beside
from shelfbridge.request import Filters
from shelfbridge.retrieval import CandidateIndex, ProductStore
from shelfbridge.retrieval.names import Names
from shelfbridge.retrieval.signals import Lexicon
from tests.functional import tiny
from tests.unit.change.changed_shop import BASE, LAMP, SHOES, with_title


def test_without_changes_nothing_is_joined(shop, release):
    assert type(shop.now().index.lexicon).__name__ == "Lexicon"
    assert not changes_beside(release).exists()
    assert str(status(release)) == "nothing has changed since the release"
    assert not changes_beside(release).exists()


def test_an_added_product_is_found_with_its_payload_and_pieces(shop, release):
    assert "new-1" not in shop.found("zyntrax lamp")
    change(release, upsert=[LAMP])
    assert shop.found("zyntrax lamp")[0] == "new-1"
    row = len(BASE)
    assert json.loads(shop.now().store.payloads([row])[0])["price"] == 3.0
    query = shop.query("black lamp").pieces
    ids, _, mask = shop.now().pairs.pair(query, np.array([row, 0, -1], np.int32))
    expected = shop.encoder.pieces.pieces([LAMP.full_text, BASE[0].full_text])
    for place, pieces in enumerate(expected):
        assert ids[place][mask[place] == 1].tolist() == [*query, *pieces]
    assert mask[2].sum() == len(query)


def test_a_new_word_is_known_and_the_likest_of_a_misspelt_one(shop, release):
    change(release, upsert=[LAMP, with_title(BASE[1], "shoez")])
    words = shop.now().index.lexicon.words
    assert words("zyntrax shoez").wanted == ("zyntrax", "shoez")
    assert words("zyntrix jaket").wanted == ("zyntrax", "jacket")


def test_a_changed_price_is_filtered_by(shop, release):
    cheap, dear = Filters(price_max=4), Filters(price_min=900, category="running shoes", in_stock=True)
    assert shop.found("red running shoes", cheap) == []
    change(release, upsert=[SHOES.model_copy(update={"price": 2})])
    assert shop.found("red running shoes", cheap) == [SHOES.product_id]
    change(release, upsert=[SHOES.model_copy(update={"price": 999, "stock": 2})])
    assert shop.found("red running shoes", cheap) == []
    assert shop.found("red running shoes", dear) == [SHOES.product_id]
    change(release, upsert=[SHOES.model_copy(update={"price": 999, "stock": 0})])
    assert shop.found("red running shoes", dear) == []


def test_a_replaced_title_matches_its_new_words_only(shop, release):
    change(release, upsert=[with_title(SHOES, "quartz kettle").model_copy(update={"category": ("Kitchen",)})])
    assert shop.found("quartz kettle")[0] == SHOES.product_id
    assert shop.found("quartz kettle").count(SHOES.product_id) == 1
    lexicon = shop.now().index.lexicon
    rows = lexicon.best(lexicon.words("red running shoes 0"), 1000)
    assert SHOES.product_id not in shop.now().store.ids(rows.tolist())


def test_a_denial_is_seen_of_a_product_that_came_later(shop, release):
    change(release, upsert=[with_title(LAMP, "desk lamp without shade")])
    seen = shop.of("desk lamp without shade", "new-1")
    assert seen["denial_met"] == 1
    assert seen["denied_title"] == 0


def test_a_deleted_product_is_gone_and_comes_back_when_it_is_added_again(shop, release):
    change(release, upsert=[LAMP])
    assert change(release, delete=[SHOES.product_id, "new-1", "never-seen"]) == ["never-seen"]
    for filters in (None, Filters(price_max=10_000)):
        found = shop.found("red running shoes desk lamp zyntrax", filters)
        assert found
        assert not {SHOES.product_id, "new-1"} & set(found)
    assert change(release, delete=[SHOES.product_id]) == [SHOES.product_id]
    assert str(status(release)).endswith("0 added, 0 replaced, 1 deleted")
    change(release, upsert=[SHOES, LAMP])
    assert SHOES.product_id in shop.found("red running shoes 0")
    assert shop.found("zyntrax")[0] == "new-1"
    assert str(status(release)).endswith("1 added, 1 replaced, 0 deleted")


def test_a_deletion_alone_needs_no_product_that_came_later(shop, release):
    change(release, delete=[SHOES.product_id])
    assert SHOES.product_id not in shop.found("red running shoes 0")
    assert len(shop.found("red running shoes")) == 100


def test_when_most_is_gone_what_is_left_is_still_found(shop, release):
    change(release, delete=[product.product_id for product in BASE[: -len(tiny.COLORS)]])
    assert sorted(shop.found("red blue shoes")) == sorted(p.product_id for p in BASE[-len(tiny.COLORS) :])


def test_a_product_counts_the_same_whether_it_came_with_the_release_or_later(shop, release):
    text = f"{SHOES.title} jacket no mud"  # no product that came later has the jacket
    before = shop.of(text, SHOES.product_id)
    change(release, upsert=[SHOES, LAMP])
    after = shop.of(text, SHOES.product_id)
    assert shop.candidates(text).rows.max() >= len(BASE)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)


def test_both_parts_answer_as_one_index_of_all_products_that_is_weighed_like_the_release(tmp_path):
    random = np.random.default_rng(3)
    words = [
        f"{first}{last}" for first in ("ka", "lo", "mi", "nu", "re", "ti") for last in ("bel", "dor", "fan", "gus")
    ]
    products = [
        Product(product_id=f"p{n}", title=" ".join(random.choice(words, random.integers(2, 12))), rating_count=n)
        for n in range(250)
    ]
    vectors = random.standard_normal((250, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    tokens = [random.integers(-9, 9, (random.integers(1, 7), 4), np.int8) for _ in products]

    def write(name: str, some: slice, known: Lexicon | None = None) -> CandidateIndex:
        CandidateIndex.write(tmp_path / name, products[some], vectors[some], tokens[some], known=known)
        np.save(tmp_path / name / "gone.npy", np.zeros(0, np.int64))
        return CandidateIndex.open(tmp_path / name)

    base = write("base", slice(150))
    write("later", slice(150, 250), base.lexicon)
    joined, whole = base.with_changes(tmp_path / "later"), write("whole", slice(250), base.lexicon)
    for _ in range(40):
        text = " ".join(random.choice(words, 3))
        query = vectors[random.integers(250)]
        found, wanted = (index.search(text, query) for index in (joined, whole))
        np.testing.assert_array_equal(found.rows, wanted.rows)
        assert found.rows.max() >= 150
        for name in ("signals", "cosines"):
            np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=1e-6)
        np.testing.assert_array_equal(found.tokens, wanted.tokens)
        np.testing.assert_array_equal(found.lengths, wanted.lengths)


def test_a_row_stays_its_products(shop, release):
    change(release, upsert=[LAMP, with_title(SHOES, "kettle")])
    change(release, delete=["new-1"])
    change(release, upsert=[with_title(LAMP, "other lamp").model_copy(update={"product_id": "new-2"})])
    base = len(BASE)
    assert shop.now().store.ids(range(base, base + 3)) == ["new-1", SHOES.product_id, "new-2"]


def test_an_unchanged_text_is_not_encoded_again(release, monkeypatch):
    change(release, upsert=[LAMP])
    monkeypatch.setattr(later, "encode", lambda *_: pytest.fail("encoded"))
    change(release, upsert=[LAMP.model_copy(update={"price": 5})])


def test_a_text_that_changes_again_is_encoded_again(shop, release):
    for title in ("black lamp", "white kettle"):
        change(release, upsert=[with_title(LAMP, title)])
    text = with_title(LAMP, "white kettle").full_text
    assert shop.of(text, "new-1")["cosine"] == pytest.approx(1)


def test_ids_are_found_without_reading_all_of_them(original):
    numbers = ProductStore.numbers(original / "postprocess/1")
    assert isinstance(numbers, Names)
    assert [numbers.find(product.product_id) for product in BASE[:3]] == [0, 1, 2]
