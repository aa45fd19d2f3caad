"""Products that are added, changed and deleted while a release is served, and what happens when that goes wrong."""

import fcntl
import json
import logging
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from build import change as changing
from build.change import change, status
from build.offline import EncodedQuery, Retrieval
from build.release import PRODUCT_ENCODER
from shelfbridge.catalogue import Product
from shelfbridge.contract import SIGNALS
from shelfbridge.errors import ArtefactError, DataError
from shelfbridge.request import Filters
from shelfbridge.retrieval import CandidateIndex, Candidates, Changing, ProductPairs, ProductStore
from shelfbridge.retrieval.changes import changes_beside, generation
from shelfbridge.retrieval.names import Names
from shelfbridge.retrieval.signals import Lexicon
from tests.functional import tiny
from tests.functional.tiny_release import publish_tiny

BASE = tuple(tiny.catalogue())
LAMP = Product(
    product_id="new-1", title="black desk lamp zyntrax 7", brand="Dorado", category="Light", price=3, stock=1
)
SHOES = BASE[0]


def with_title(product: Product, title: str) -> Product:
    return product.model_copy(update={"title": title})


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return publish_tiny(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def release(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "1")
    return tmp_path / "1"


class Shop:
    """A release as its steps see it."""

    def __init__(self, release: Path) -> None:
        self.index = Changing(CandidateIndex, release / "retrieve/1")
        self.pairs = Changing(ProductPairs, release / "shortlist/1")
        self.store = Changing(ProductStore, release / "postprocess/1")
        self.encoder = Retrieval.open(
            release / "preprocess/1/tokenizer.json", release / "encoder/1/model.onnx", release / "retrieve/1"
        )

    def query(self, text: str) -> EncodedQuery:
        return self.encoder.encode(text)

    def candidates(self, text: str, filters: Filters | None = None) -> Candidates:
        query = self.query(text)
        return self.index.now().search(query.text, query.embedding, filters or Filters())

    def found(self, text: str, filters: Filters | None = None) -> list[str]:
        rows = self.candidates(text, filters).rows
        return self.store.now().ids(rows[rows >= 0].tolist())

    def of(self, text: str, product_id: str) -> dict[str, np.ndarray]:
        """What the ranker sees of one candidate."""
        found = self.candidates(text)
        at = self.store.now().ids(found.rows[found.rows >= 0].tolist()).index(product_id)
        tokens = found.tokens[at, : found.lengths[at]]
        return {"tokens": tokens, **dict(zip(SIGNALS, found.signals[at], strict=True))}


@pytest.fixture
def shop(release: Path) -> Shop:
    return Shop(release)


def test_without_changes_nothing_is_joined(shop, release):
    assert type(shop.index.now().lexicon).__name__ == "Lexicon"
    assert not changes_beside(release).exists()
    assert str(status(release)) == "nothing has changed since the release"
    assert not changes_beside(release).exists()


def test_an_added_product_is_found_with_its_payload_and_pieces(shop, release):
    assert "new-1" not in shop.found("zyntrax lamp")
    change(release, upsert=[LAMP])
    assert shop.found("zyntrax lamp")[0] == "new-1"
    row = len(BASE)
    assert json.loads(shop.store.now().payloads([row])[0])["price"] == 3.0
    query = shop.query("black lamp").input_ids[0]
    ids, _, mask = shop.pairs.now().pair(query, np.array([row, 0, -1], np.int32))
    expected = shop.encoder.pieces.pieces([LAMP.full_text, BASE[0].full_text])
    for place, pieces in enumerate(expected):
        assert ids[place][mask[place] == 1].tolist() == [*query, *pieces]
    assert mask[2].sum() == len(query)


def test_a_new_word_is_known_and_the_likest_of_a_misspelt_one(shop, release):
    change(release, upsert=[LAMP, with_title(BASE[1], "shoez")])
    words = shop.index.now().lexicon.words
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
    lexicon = shop.index.now().lexicon
    rows = lexicon.best(lexicon.words("red running shoes 0"), 1000)
    assert SHOES.product_id not in shop.store.now().ids(rows.tolist())


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
    assert shop.store.now().ids(range(base, base + 3)) == ["new-1", SHOES.product_id, "new-2"]


def test_an_unchanged_text_is_not_encoded_again(release, monkeypatch):
    change(release, upsert=[LAMP])
    monkeypatch.setattr(changing, "encode", lambda *_: pytest.fail("encoded"))
    change(release, upsert=[LAMP.model_copy(update={"price": 5})])


def test_a_text_that_changes_again_is_encoded_again(shop, release):
    for title in ("black lamp", "white kettle"):
        change(release, upsert=[with_title(LAMP, title)])
    text = with_title(LAMP, "white kettle").full_text
    assert shop.of(text, "new-1")["cosine"] == pytest.approx(1)


def test_an_interrupted_change_leaves_the_earlier_one(shop, release, monkeypatch):
    change(release, upsert=[LAMP])
    with monkeypatch.context() as patch:
        patch.setattr(changing, "write_record", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            change(release, delete=["new-1"])
    left = changes_beside(release) / ".unfinished-killed"
    left.mkdir()
    assert shop.found("zyntrax")[0] == "new-1"
    change(release, delete=["new-1"])
    assert "new-1" not in shop.found("zyntrax")
    assert not left.exists()


def test_a_change_waits_for_the_one_before_it(release):
    changes = changes_beside(release)
    changes.mkdir()
    with (changes / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=change, args=(release,), kwargs={"upsert": [LAMP]})
        second.start()
        second.join(0.3)
        assert second.is_alive()
        assert generation(changes) is None
    second.join()
    assert generation(changes) is not None


def test_many_changers_lose_nothing(shop, release):
    products = [with_title(LAMP, f"lamp {n}").model_copy(update={"product_id": f"new-{n}"}) for n in range(6)]
    threads = [threading.Thread(target=change, args=(release,), kwargs={"upsert": [one]}) for one in products]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.product_id for one in products} <= set(shop.found("lamp 5"))


def test_old_generations_go_but_for_the_last(release):
    for price in range(4):
        change(release, upsert=[LAMP.model_copy(update={"price": price})])
    kept = sorted(path.name.split("-")[0] for path in changes_beside(release).iterdir() if path.name[0].isdigit())
    assert kept == ["3", "4"]


def test_changes_made_anew_are_not_taken_for_the_earlier_ones(shop, release):
    change(release, upsert=[LAMP])
    assert shop.found("zyntrax")[0] == "new-1"
    shutil.rmtree(changes_beside(release))
    change(release, delete=[SHOES.product_id])
    assert "new-1" not in shop.found("zyntrax")


def test_without_its_changes_a_release_is_as_it_was(shop, release):
    before = shop.candidates("zyntrax lamp")
    change(release, upsert=[LAMP])
    shop.found("zyntrax")
    shutil.rmtree(changes_beside(release))
    after = shop.candidates("zyntrax lamp")
    np.testing.assert_array_equal(after.rows, before.rows)
    np.testing.assert_array_equal(after.signals, before.signals)


@pytest.mark.parametrize("file", ["tokens.npy", "lexicon/fields/idf.npy", "changes.json"])
def test_damaged_changes_are_named_with_the_cure(shop, release, file, caplog):
    change(release, upsert=[LAMP])
    assert shop.found("zyntrax")[0] == "new-1"
    change(release, delete=["new-1"])
    damaged = changes_beside(release) / str(generation(changes_beside(release))) / file
    os.truncate(damaged, damaged.stat().st_size // 2)
    message = rf"{file}.*; delete .*1\.changes and make the changes again"
    with caplog.at_level(logging.ERROR):
        assert shop.found("zyntrax")[0] == "new-1"
        shop.found("zyntrax")
    assert [record.getMessage() for record in caplog.records if file in record.getMessage()]
    assert len(caplog.records) == 2  # the index's and the store's, each once
    for reading in (Shop, status, lambda folder: change(folder, delete=["new-1"])):
        with pytest.raises(ArtefactError, match=message):
            reading(release)


def test_changes_of_another_release_are_refused(release):
    change(release, upsert=[LAMP])
    (release / "manifest.json").write_text((release / "manifest.json").read_text() + "\n")
    with pytest.raises(ArtefactError, match=r"was not made for .*; delete"):
        Shop(release)


def test_too_many_changes_ask_for_a_new_release(release, monkeypatch):
    monkeypatch.setattr(changing, "LIMIT", 1)
    with pytest.raises(DataError, match=r"2 products differ .*; build a new release"):
        change(release, upsert=BASE[:2])
    assert generation(changes_beside(release)) is None


def test_a_release_of_an_older_build_is_refused(release):
    (release / PRODUCT_ENCODER).unlink()
    with pytest.raises(ArtefactError, match=rf"{PRODUCT_ENCODER}.*build it again"):
        change(release, upsert=[LAMP])
    (release / "postprocess/1/ids.digests.npy").unlink()
    with pytest.raises(ArtefactError, match=r"ids.digests.npy.*build the release again"):
        change(release, delete=["x"])


def test_the_command_line_changes_and_tells(release, tmp_path, monkeypatch, capsys):
    file = tmp_path / "new.jsonl"
    file.write_text(LAMP.model_dump_json() + '\n{"product_id": "bad"}\n')

    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["change", "--release", str(release), *arguments])
        changing.main()
        return capsys.readouterr().out

    told = run("upsert", str(file))
    assert "1 row was left out" in told
    assert "1 added, 0 replaced, 0 deleted" in told
    assert "not in the catalogue: nobody" in run("delete", "new-1", "nobody")
    assert "0 added, 0 replaced, 0 deleted" in run("status")
    with pytest.raises(SystemExit, match=r"error: .*no such file"):
        run("upsert", str(tmp_path / "missing.jsonl"))


def test_ids_are_found_without_reading_all_of_them(original):
    numbers = ProductStore.numbers(original / "postprocess/1")
    assert isinstance(numbers, Names)
    assert [numbers.find(product.product_id) for product in BASE[:3]] == [0, 1, 2]
