"""Vectors wherever they are: what is found of what an exact search finds, with filters and without, and what damage
does."""

import importlib
import json
import os
import sys
import time

import faiss
import numpy as np
import pytest

from shelfbridge.catalogue import Product
from shelfbridge.contract import SIGNALS
from shelfbridge.errors import ArtefactError, PrerequisiteError, SettingsError
from shelfbridge.request import Filters
from shelfbridge.retrieval import CandidateIndex
from shelfbridge.retrieval.index import BY_WORDS_ALONE
from shelfbridge.retrieval.vectors import MILVUS_URI, approximate, exact, open_vectors, write_vectors
from shelfbridge.retrieval.vectors.approximate import Setting, list_count, settings
from shelfbridge.retrieval.vectors.milvus import SEARCH_TIMEOUT
from shelfbridge.retrieval.vectors.tuning import TARGET, Truth, choose

COUNT, WIDTH = 3000, 36
CLUSTERS = 20
NO_MILVUS = "Milvus Lite is not installed: pip install 'shelfbridge[milvus]'"


def unit(drawn: np.ndarray) -> np.ndarray:
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def clustered(count: int, seed: int, spread: float = 0.2) -> np.ndarray:
    """Unit vectors around some centres."""
    random = np.random.default_rng(seed)
    return unit(CENTRES[random.integers(CLUSTERS, size=count)] + spread * random.standard_normal((count, WIDTH)))


CENTRES = unit(np.random.default_rng(0).standard_normal((CLUSTERS, WIDTH))) * 6
PRODUCTS, LIKELY, ASKED = clustered(COUNT, 1), clustered(100, 2, spread=1), clustered(100, 3, spread=1)


def best(query: np.ndarray, depth: int, allowed: np.ndarray | None = None) -> np.ndarray:
    scores = PRODUCTS @ query
    if allowed is not None:
        scores[~allowed] = -np.inf
        depth = min(depth, allowed.sum())
    return np.argsort(-scores, kind="stable")[:depth]


def written(folder, place: str):
    if place == "milvus":
        pytest.importorskip("milvus_lite", reason=NO_MILVUS)
        place = str(folder / "milvus.db")
        os.environ.setdefault(SEARCH_TIMEOUT, "30")  # Milvus Lite on a busy machine
    write_vectors(folder, PRODUCTS, queries=LIKELY, place=place, exact_up_to=100)
    return open_vectors(folder)


@pytest.fixture(scope="module", params=["faiss", "milvus"])
def vectors(request, tmp_path_factory):
    return written(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture
def faiss_folder(tmp_path):
    written(tmp_path, "faiss")
    return tmp_path


class TestLargeCatalogues:
    def test_find_what_an_exact_search_finds(self, vectors):
        recalls = Truth.of(PRODUCTS, ASKED).recalls(lambda query: vectors.search(query, 100))
        assert recalls.mean() >= 0.99

    def test_answer_best_first_and_none_twice(self, vectors):
        rows = vectors.search(ASKED[0], 200)
        assert rows.dtype == np.int64
        assert len(set(rows)) == len(rows) == 200
        scores = PRODUCTS[rows] @ ASKED[0]
        assert (np.diff(scores) <= 1e-3).all()

    def test_fetch_as_many_as_asked_or_none(self, vectors):
        np.testing.assert_allclose(vectors.fetch(np.array([7, 3])), PRODUCTS[[7, 3]], atol=1e-3)
        assert vectors.fetch(np.zeros(0, np.int64)).shape == (0, PRODUCTS.shape[1])

    def test_never_answer_more_than_there_are(self, vectors):
        assert len(vectors) == COUNT
        assert len(vectors.search(ASKED[0], 2 * COUNT)) <= COUNT
        assert len(vectors.search(ASKED[0], 3)) == 3

    @pytest.mark.parametrize("count", [1, 7, 150])
    def test_a_filter_that_leaves_few_loses_none_of_them(self, vectors, count):
        allowed = np.zeros(COUNT, bool)
        allowed[np.random.default_rng(count).permutation(COUNT)[:count]] = True
        assert set(vectors.search(ASKED[1], 200, allowed)) == set(np.flatnonzero(allowed))

    def test_a_filter_that_leaves_nothing_finds_nothing(self, vectors):
        assert vectors.search(ASKED[0], 10, np.zeros(COUNT, bool)).tolist() == []

    def test_a_filter_that_allows_all_is_none(self, vectors):
        assert vectors.search(ASKED[0], 10, np.ones(COUNT, bool)).tolist() == vectors.search(ASKED[0], 10).tolist()

    @pytest.mark.parametrize("share", [0.1, 0.6])
    @pytest.mark.parametrize("how", ["anywhere", "elsewhere"])
    def test_a_wide_filter_finds_the_best_that_it_allows(self, vectors, monkeypatch, share, how):
        monkeypatch.setattr(approximate, "FEW", 10)
        monkeypatch.setattr(approximate, "FEW_OF", 100)
        hits = []
        for seed, query in enumerate(ASKED[:20]):
            allowed = np.random.default_rng(seed).random(COUNT) < share
            if how == "elsewhere":
                far = np.argsort(CENTRES @ query)[: int(share * CLUSTERS)]
                allowed = np.isin((PRODUCTS @ CENTRES.T).argmax(1), far)
            rows = vectors.search(query, 50, allowed)
            assert allowed[rows].all()
            hits.append(np.isin(best(query, 50, allowed), rows).mean())
        assert np.mean(hits) >= 0.97

    def test_fetch_what_was_written(self, vectors):
        rows = np.array([5, 2999, 0, 7], np.int32)
        np.testing.assert_allclose(vectors.fetch(rows), PRODUCTS[rows], atol=2e-4)


class TestSmallCatalogues:
    def test_are_kept_in_fp32_and_searched_exactly(self, tmp_path):
        write_vectors(tmp_path, PRODUCTS)
        vectors = open_vectors(tmp_path)
        for query in ASKED:
            np.testing.assert_array_equal(vectors.search(query, 200), best(query, 200))
        np.testing.assert_array_equal(vectors.fetch(np.arange(COUNT)), PRODUCTS)

    def test_are_one_file(self, tmp_path):
        write_vectors(tmp_path, PRODUCTS)
        assert [file.name for file in tmp_path.iterdir()] == ["vectors.faiss"]

    @pytest.mark.parametrize("count", [1, 2, 99])
    def test_answer_no_more_than_they_have(self, tmp_path, count):
        write_vectors(tmp_path, PRODUCTS[:count])
        assert sorted(open_vectors(tmp_path).search(ASKED[0], 200)) == list(range(count))

    @pytest.mark.parametrize("count", [1, 5, 45])
    def test_can_be_searched_approximately(self, tmp_path, count):
        write_vectors(tmp_path, PRODUCTS[:count], exact_up_to=0)
        assert len(open_vectors(tmp_path).search(PRODUCTS[0], 200)) == count


class TestSettings:
    def test_the_record_says_what_was_measured(self, faiss_folder):
        record = json.loads((faiss_folder / "vectors.json").read_text())
        opened = open_vectors(faiss_folder)
        assert opened.setting == Setting(record["probes"], record["refined"])
        measured = Truth.of(PRODUCTS, LIKELY).recalls(lambda query: opened.search(query, 100)).mean()
        assert record["recall_at_100"] == pytest.approx(measured, abs=1e-4)
        assert record["recall_at_100"] >= TARGET
        assert record["queries"] == len(LIKELY)

    def test_queries_that_are_harder_to_answer_are_answered_with_more_work(self, tmp_path, monkeypatch):
        monkeypatch.setattr(approximate, "REFINED", (300,))
        cost = {}
        for name, queries in {
            "easy": PRODUCTS[:40],
            "hard": unit(np.random.default_rng(4).random((40, WIDTH))),
        }.items():
            (tmp_path / name).mkdir()
            write_vectors(tmp_path / name, PRODUCTS, queries=queries, exact_up_to=0)
            cost[name] = open_vectors(tmp_path / name).setting.probes
        assert cost["easy"] < cost["hard"]

    def test_come_from_the_cheapest_to_the_dearest(self):
        every = list(settings(1_000_000, 8000))
        assert every[0] == Setting(32, 300)
        assert every[-1] == Setting(4000, 2400)
        costs = [one.probes * 125 + 16 * one.refined for one in every]
        assert costs == sorted(costs)

    def test_the_first_that_finds_enough_is_chosen_and_no_dearer_one_is_tried(self):
        tried = []

        def search(setting, query):
            tried.append(setting)
            return best(query, setting)

        chosen, recall = choose([10, 50, 100, 3000], search, Truth.of(PRODUCTS, ASKED[:2]))
        assert (chosen, recall) == (100, 1.0)
        assert 3000 not in tried

    def test_the_best_is_chosen_where_none_finds_enough(self):
        assert choose([10, 50, 20], lambda few, query: best(query, few), Truth.of(PRODUCTS, ASKED)) == (50, 0.5)

    def test_of_equal_products_any_is_found(self):
        same = np.concatenate([np.tile(PRODUCTS[0], (300, 1)), -PRODUCTS[:300]])
        truth = Truth.of(same, PRODUCTS[:1])
        assert truth.recalls(lambda query: np.arange(200, 300)) == [1]
        assert truth.recalls(lambda query: np.arange(250, 350)) == [0.5]

    @pytest.mark.parametrize(("count", "lists"), [(1, 1), (64, 1), (20_000, 312), (1_000_000, 8000)])
    def test_lists_are_as_many_as_can_be_learnt(self, count, lists):
        assert list_count(count) == lists


class TestDamage:
    @pytest.mark.parametrize("name", ["vectors.faiss", "vectors.lists.npy"])
    def test_a_missing_or_damaged_file_is_named(self, faiss_folder, name):
        whole = (faiss_folder / name).read_bytes()
        for content in (whole[:-3], b"", b"<html>" * 30):
            (faiss_folder / name).write_bytes(content)
            with pytest.raises(ArtefactError, match=f"{name} cannot be read.*build the release again"):
                open_vectors(faiss_folder)
        (faiss_folder / name).unlink()
        with pytest.raises(ArtefactError, match=f"{name} cannot be read"):
            open_vectors(faiss_folder)

    @pytest.mark.parametrize("record", ["", "[]", "{}", '{"in": "faiss"}', '{"in": "faiss", "probes": "x"}'])
    def test_a_damaged_record_is_named(self, faiss_folder, record):
        (faiss_folder / "vectors.json").write_text(record)
        with pytest.raises(ArtefactError, match=r"vectors\.json cannot be read.*build the release again"):
            open_vectors(faiss_folder)

    def test_a_missing_record_is_missed(self, faiss_folder):
        (faiss_folder / "vectors.json").unlink()
        with pytest.raises(ArtefactError, match=r"wants its vectors\.json.*build the release again"):
            open_vectors(faiss_folder)

    def test_files_of_two_builds_do_not_go_together(self, faiss_folder, tmp_path_factory):
        other = tmp_path_factory.mktemp("other")
        write_vectors(other, PRODUCTS[:2000], exact_up_to=0)
        (faiss_folder / "vectors.faiss").write_bytes((other / "vectors.faiss").read_bytes())
        with pytest.raises(ArtefactError, match="does not belong to its record"):
            open_vectors(faiss_folder)

    def test_small_and_large_are_told_apart(self, faiss_folder):
        exact.ExactVectors.write(faiss_folder, PRODUCTS)
        with pytest.raises(ArtefactError, match="does not belong to its record"):
            open_vectors(faiss_folder)


class TestPlaces:
    def test_nonsense_is_refused(self, tmp_path):
        with pytest.raises(SettingsError, match="'redis' is no place for vectors; use faiss, milvus"):
            write_vectors(tmp_path, PRODUCTS, place="redis")

    def test_milvus_without_an_address_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.delenv(MILVUS_URI, raising=False)
        with pytest.raises(SettingsError, match=f"{MILVUS_URI} is not set"):
            write_vectors(tmp_path, PRODUCTS, place="milvus")

    def test_milvus_without_its_client_says_what_to_install(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "pymilvus", None)
        with pytest.raises(PrerequisiteError, match="pip install"):
            write_vectors(tmp_path, PRODUCTS, place="http://localhost:1")


class TestMilvus:
    @pytest.fixture
    def place(self, tmp_path, monkeypatch):
        pytest.importorskip("milvus_lite", reason=NO_MILVUS)
        monkeypatch.setenv(MILVUS_URI, str(tmp_path / "milvus.db"))
        write_vectors(tmp_path, PRODUCTS[:500], queries=LIKELY[:5], place="milvus")
        return tmp_path

    @staticmethod
    def change(folder, **fields) -> None:
        record = json.loads((folder / "vectors.json").read_text())
        (folder / "vectors.json").write_text(json.dumps(record | fields))

    def test_is_found_at_the_address_of_the_environment_or_else_of_the_build(self, place, monkeypatch):
        self.change(place, uri=str(place / "elsewhere.db"))
        assert len(open_vectors(place)) == 500
        monkeypatch.delenv(MILVUS_URI)
        with pytest.raises(ArtefactError, match=r"elsewhere\.db has no collection shelfbridge_.*build into a new"):
            open_vectors(place)

    def test_keeps_no_secret_in_the_record(self, place, monkeypatch):
        monkeypatch.setenv("SHELFBRIDGE_MILVUS_TOKEN", "root:hush")
        write_vectors(place, PRODUCTS[:500], queries=LIKELY[:5], place="milvus")
        assert "hush" not in (place / "vectors.json").read_text()

    @pytest.mark.parametrize(("field", "value"), [("width", 37), ("count", 501)])
    def test_of_other_content_is_refused(self, place, field, value):
        self.change(place, **{field: value})
        with pytest.raises(ArtefactError, match=f"holds 500 vectors of width 36, not.*{value}"):
            open_vectors(place)

    def test_a_collection_that_was_left_half_filled_is_filled_again(self, place):
        from shelfbridge.retrieval.vectors import milvus

        client, name = open_vectors(place).client, json.loads((place / "vectors.json").read_text())["collection"]
        client.drop_collection(name)
        milvus.fill(client, name, PRODUCTS[:300], 4)
        write_vectors(place, PRODUCTS[:500], queries=LIKELY[:5], place="milvus")
        np.testing.assert_array_equal(open_vectors(place).fetch(np.arange(500)), PRODUCTS[:500])

    def test_out_of_reach_is_said_with_its_address(self, place, monkeypatch):
        monkeypatch.setattr("shelfbridge.retrieval.vectors.milvus.TIMEOUT", 1.0)
        monkeypatch.setenv(MILVUS_URI, "http://localhost:1")
        with pytest.raises(ArtefactError, match=f"Milvus at http://localhost:1 does not answer.*{MILVUS_URI}"):
            open_vectors(place)


def test_processes_share_the_vectors(tmp_path):
    write_vectors(tmp_path, PRODUCTS, exact_up_to=0)
    opened = open_vectors(tmp_path)
    assert not faiss.downcast_index(opened.index.refine_index).codes.is_owned


class TestADeadStore:
    """A search with candidates by words at hand must not fail, nor wait, because the vectors' server is gone."""

    @pytest.fixture
    def index(self, tmp_path, monkeypatch):
        pytest.importorskip("milvus_lite", reason=NO_MILVUS)
        monkeypatch.setenv(MILVUS_URI, str(tmp_path / "milvus.db"))
        monkeypatch.setenv(SEARCH_TIMEOUT, "5")
        products = [Product(product_id=str(row), title=f"lamp number{row} green") for row in range(60)]
        tokens = [np.ones((2, 8), np.int8)] * 60
        CandidateIndex.write(tmp_path / "index", products, PRODUCTS[:60], tokens, place="milvus")
        index = CandidateIndex.open(tmp_path / "index")
        assert (index.search("lamp number7", PRODUCTS[7]).rows >= 0).sum() == 60
        importlib.import_module("milvus_lite.server_manager").server_manager_instance.release_all()
        monkeypatch.setattr(index.vectors, "_patience", 0.2)
        return index

    def test_words_alone_find_the_candidates(self, index, caplog):
        before = BY_WORDS_ALONE.value
        begun = time.monotonic()
        found = index.search("lamp number7", PRODUCTS[7])
        assert time.monotonic() - begun < 2  # the client itself looks for a connection for 10 s
        assert found.rows[0] == 7
        assert not found.cosines.any()
        assert found.signals[0, SIGNALS.index("bm25")] > 0
        assert BY_WORDS_ALONE.value == before + 1
        assert "searches go on by words alone" in caplog.text

    def test_it_is_not_asked_again_at_once(self, index, monkeypatch):
        index.search("lamp", PRODUCTS[7])
        monkeypatch.setattr(index.vectors, "client", None)  # whoever asked it would fail
        assert index.search("lamp number9", PRODUCTS[7]).rows[0] == 9

    def test_a_filter_that_leaves_nothing_answers_nothing(self, index):
        assert (index.search("lamp", PRODUCTS[7], Filters(brand="nobody")).rows == -1).all()
