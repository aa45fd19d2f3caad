"""The lexical index: weights as bm25s has them, and the best rows without reading all of a list."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfbridge.retrieval import best as best_module
from shelfbridge.retrieval.best import best
from shelfbridge.retrieval.lexical import UNSEEN, Documents, LexicalIndex, Statistics
from shelfbridge.retrieval.names import Names
from tests.unit.plain_search import by_bm25s

WORDS = ("red", "blue", "tent", "shoe", "lamp", "mug", "steel", "oak")


def write_index(folder: Path, *fields: list[list[str]]) -> tuple[LexicalIndex, dict[str, int]]:
    vocabulary: dict[str, int] = {}
    documents = [Documents.of(field, vocabulary) for field in fields]
    LexicalIndex.write(folder / "fields", [(one, Statistics.of(one, len(vocabulary))) for one in documents])
    return LexicalIndex.open(folder / "fields"), vocabulary


def skewed(count: int, seed: int) -> list[list[str]]:
    """Texts in which some words are in most, and some in few."""
    random = np.random.default_rng(seed)
    return [[f"w{n}" for n in random.zipf(1.4, random.integers(0, 20)) if n < 200] for _ in range(count)]


class TestLexicalIndex:
    @settings(deadline=None, max_examples=30)
    @given(st.lists(st.lists(st.sampled_from(WORDS), max_size=6), min_size=2, max_size=12).filter(any))
    def test_weighs_to_the_last_bit_as_bm25s_does(self, tmp_path_factory, documents):
        index, vocabulary = write_index(tmp_path_factory.mktemp("x"), documents)
        reference = by_bm25s(documents)
        for term, number in vocabulary.items():
            rows, weights = index.postings(0, number)
            expected = reference.get_scores([term])
            np.testing.assert_array_equal(rows, np.flatnonzero(expected))
            np.testing.assert_array_equal(weights, expected[rows])

    def test_looks_up_what_the_lists_hold(self, tmp_path):
        full, title = skewed(300, 1), skewed(300, 2)
        index, vocabulary = write_index(tmp_path, full, title)
        rows = np.array([0, 7, 8, 150, 299], np.int32)
        terms = ["w1", "w2", "w5", "w9"]
        held = index.look_up((0, 1), [*(vocabulary[term] for term in terms), UNSEEN], rows).held
        expected = [[[term in field[row] for row in rows] for field in (full, title)] for term in terms]
        np.testing.assert_array_equal(held[:-1], expected)
        assert not held[-1].any()

    def test_covers_a_query_whole_or_in_part(self, tmp_path):
        index, terms = write_index(tmp_path, [["red", "tent"], ["red"], ["mug"]])
        (coverage,) = index.look_up((0,), [terms["red"], terms["tent"]], np.arange(3, dtype=np.int32)).coverage()
        assert coverage[0] == pytest.approx(1)
        assert 0 < coverage[1] < 0.5  # the rarer word weighs more
        assert coverage[2] == 0

    def test_a_word_that_no_product_has_is_not_covered(self, tmp_path):
        index, terms = write_index(tmp_path, [["red"], ["mug"]])
        (coverage,) = index.look_up((0,), [terms["red"], UNSEEN], np.arange(2, dtype=np.int32)).coverage()
        assert 0 < coverage[0] < 0.5

    @pytest.mark.parametrize("documents", [[[]], [[], []], [["red"]], [[], ["red"]]])
    def test_takes_products_without_a_word(self, tmp_path, documents):
        index, terms = write_index(tmp_path, documents)
        found = index.look_up((0,), [terms.get("red", UNSEEN)], np.arange(len(documents), dtype=np.int32))
        assert [score > 0 for score in found.bm25()[0]] == [bool(one) for one in documents]
        assert np.isfinite(found.coverage()).all()

    def test_weighs_later_products_as_if_they_had_been_there(self, tmp_path):
        documents, vocabulary = skewed(200, 3), {}
        whole = Documents.of(documents, vocabulary)
        statistics = Statistics.of(whole, len(vocabulary))
        LexicalIndex.write(tmp_path / "whole", [(whole, statistics)])
        LexicalIndex.write(tmp_path / "later", [(Documents.of(documents[150:], vocabulary), statistics)])
        whole_index, later = LexicalIndex.open(tmp_path / "whole"), LexicalIndex.open(tmp_path / "later")
        for term in vocabulary.values():
            rows, weights = whole_index.postings(0, term)
            later_rows, later_weights = later.postings(0, term)
            np.testing.assert_array_equal(later_rows + 150, rows[rows >= 150])
            np.testing.assert_array_equal(later_weights, weights[rows >= 150])
        np.testing.assert_array_equal(later.idf, whole_index.idf)


class TestBest:
    @staticmethod
    def reference(index, fields, terms, depth, allowed):
        rows = np.arange(index.size, dtype=np.int32)
        sums = index.look_up(fields, terms, rows).bm25()
        first, *more = sums if len(sums) == 1 else [one / max(one.max(), np.float32(1e-6)) for one in sums]
        scores = np.where(allowed, sum(more, first), 0)
        return [row for row in np.lexsort((rows, -scores)) if scores[row] > 0][:depth]

    @pytest.mark.parametrize("setting", [{}, {"LONG": 0}, {"LONG": 0, "_SEARCHED": 0, "_LARGE": 0}], ids=str)
    @pytest.mark.parametrize("count", [3, 40, 3000])
    @pytest.mark.parametrize("fields", [(0,), (0, 1)])
    def test_is_what_a_look_at_all_products_gives(self, tmp_path, monkeypatch, setting, count, fields):
        for name, value in setting.items():
            monkeypatch.setattr(best_module, name, value)
        index, vocabulary = write_index(tmp_path, skewed(count, 5), skewed(count, 6))
        random = np.random.default_rng(7)
        for trial in range(60):
            size = min(len(vocabulary), int(random.integers(1, 6)))
            terms = [UNSEEN, *random.choice(len(vocabulary), size, replace=False).tolist()]
            some = None if trial % 3 else random.random(count) < random.choice([0.01, 0.3])
            depth = int(random.choice([1, 5, 50]))
            everything = np.ones(count, bool) if some is None else some
            expected = self.reference(index, fields, terms, depth, everything)
            assert best(index, fields, terms, depth, some).tolist() == expected

    @pytest.mark.parametrize("seed", range(5))
    def test_does_not_read_a_frequent_term_that_can_only_change_the_order(self, tmp_path, monkeypatch, seed):
        random = np.random.default_rng(seed)
        texts = [["for"] * (5 * (random.random() < 0.5)) + ["a"] * random.integers(1, 7) for _ in range(3000)]
        texts[::50] = [["tent", "for", "for", "for", "for", "for"] + ["a"] * random.integers(4) for _ in range(60)]
        texts[:500:50] = [["tent"] * (1 + 4 * (n == 0)) + ["a"] * random.integers(2, 5) for n in range(10)]
        index, terms = write_index(tmp_path, texts)
        read: list[int] = []
        add = best_module._Board.add
        monkeypatch.setattr(best_module, "LONG", 0)
        monkeypatch.setattr(
            best_module._Board, "add", lambda board, lists: (read.append(len(lists[0][0])), add(board, lists))
        )
        query = [terms["for"], terms["tent"]]
        found = best(index, (0,), query, 10)
        assert read == [60]
        assert found.tolist() == self.reference(index, (0,), query, 10, True)
        assert found.tolist() != best(index, (0,), query[1:], 10).tolist()

    @pytest.mark.parametrize("fields", [1, 2])
    def test_leaves_out_none_that_what_is_unread_can_bring_among_the_best(self, fields):
        """Whatever the unread lists hold: nothing, or the most, by chance; of products unseen so far too."""
        random = np.random.default_rng(fields)
        closed = 0
        for _ in range(2000):
            sums = random.random((fields, 30), np.float32) ** 3
            left = (random.random(fields) * random.choice([0.05, 0.3, 1])).astype(np.float32)
            depth, allowed = int(random.integers(1, 8)), random.random(30) < 0.7
            found = best_module._contenders(sums, left, depth, allowed)
            if found is None:
                continue
            closed += 1
            unseen = np.zeros((fields, 5), np.float32)
            whole = np.hstack([sums, unseen]) + left[:, None] * random.integers(0, 2, (fields, 35))
            scores = (whole / whole.max(axis=1, keepdims=True)).sum(axis=0)
            scores[:30][~allowed] = 0
            expected = {*np.argsort(-scores)[: min(depth, allowed.sum())], *whole.argmax(axis=1)}
            assert expected <= set(found)
        assert closed > 400

    def test_takes_a_term_that_the_fields_do_not_hold(self, tmp_path, monkeypatch):
        monkeypatch.setattr(best_module, "LONG", 0)
        index, terms = write_index(tmp_path, [["red"], ["red", "mug"]], [["pots"], []])
        assert best(index, (0,), [terms["pots"], terms["red"], terms["mug"]], 5).tolist() == [1, 0]

    def test_finds_nothing_by_no_term(self, tmp_path):
        index, _ = write_index(tmp_path, [["red"], ["mug"]])
        assert best(index, (0,), [UNSEEN], 5).tolist() == []
        assert best(index, (0,), [], 5).tolist() == []


class TestNames:
    STRINGS = ("red", "", "ред", "红色", "red tent", "¬wheel", *(f"name {n}" for n in range(500)))

    @pytest.fixture
    def names(self, tmp_path):
        Names.write(tmp_path, "x", self.STRINGS)
        return Names.open(tmp_path, "x")

    def test_are_found_by_text_and_by_number(self, names):
        assert [names.find(string) for string in self.STRINGS] == list(range(len(self.STRINGS)))
        assert [names[number] for number in range(len(names))] == list(self.STRINGS)

    def test_that_are_not_there_have_no_number(self, names):
        assert {names.find(string) for string in ("Red", "red ", "name 500", "n", "红")} == {-1}

    def test_of_equal_digests_are_told_apart(self, tmp_path, monkeypatch):
        monkeypatch.setattr("shelfbridge.retrieval.names._digest", lambda text: bytes(8))
        Names.write(tmp_path, "x", ("a", "b", "c"))
        names = Names.open(tmp_path, "x")
        assert [names.find(string) for string in "abcd"] == [0, 1, 2, -1]

    def test_may_be_none(self, tmp_path):
        Names.write(tmp_path, "x", ())
        assert Names.open(tmp_path, "x").find("red") == -1
