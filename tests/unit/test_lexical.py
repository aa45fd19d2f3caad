"""The lexical side against a plain reference that scores every product: the same rows and signals to the last bit."""

from dataclasses import dataclass
from pathlib import Path

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import process
from rapidfuzz.distance import OSA

from shelfbridge.catalogue import Product
from shelfbridge.contract import CANDIDATES, SIGNALS, STORED_TOKENS, TOKEN_WIDTH
from shelfbridge.request import Filters
from shelfbridge.retrieval import CandidateIndex
from shelfbridge.retrieval import best as best_module
from shelfbridge.retrieval.best import best
from shelfbridge.retrieval.facets import Facets
from shelfbridge.retrieval.index import DEPTH, RRF_K
from shelfbridge.retrieval.lexical import UNSEEN, Documents, LexicalIndex, Statistics
from shelfbridge.retrieval.names import Names
from shelfbridge.retrieval.spelling import LIKENESS
from shelfbridge.text import NEGATED, fold, lexical_tokens

WIDTH = 16
WORDS = ("red", "blue", "tent", "shoe", "lamp", "mug", "steel", "oak")
NOUNS = ("desk chair", "table lamp", "hiking boots", "water bottle", "tent pole", "steel kettle", "kids shoes")
ADJECTIVES = ("red", "waterproof", "2.5 l", "64gb", "wooden", "black", "large", "for kids", "with wheels")
ENDINGS = ("without wheels", "non-stick", "no handles", "for the kitchen", "made of oak", "armless", "100 pieces", "")
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


def goods(count: int, seed: int = 0) -> list[Product]:
    random = np.random.default_rng(seed)

    def some(words: tuple[str, ...], most: int) -> str:
        return " ".join(words[at] for at in random.integers(0, len(words), random.integers(1, most + 1)))

    def one(row: int) -> Product:
        return Product(
            product_id=str(row),
            title=f"{some(ADJECTIVES, 2)} {some(NOUNS, 1)} {some(ENDINGS, 1)}".strip(),
            brand=("", "Acme", "Zelt", "Oak & Co")[random.integers(4)],
            bullet_points=some(NOUNS + ENDINGS, 6),
            category=(("Home", "Outdoor")[random.integers(2)], ("Chairs", "Lamps", "Boots")[random.integers(3)]),
            price=None if random.random() < 0.1 else round(float(random.lognormal(3, 1)), 2),
            stock=None if random.random() < 0.2 else int(random.integers(3)),
            rating_count=int(random.integers(1000)),
        )

    return [one(row) for row in range(count)]


def by_bm25s(documents: list[list[str]]) -> bm25s.BM25:
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index([list(terms) for terms in documents], show_progress=False, create_empty_token=False)
    return index


@dataclass
class Field:
    """BM25, coverage and rarity by bm25s and a loop over all terms, dense."""

    documents: list[list[str]]

    def __post_init__(self) -> None:
        self.bm25s = by_bm25s(self.documents)
        self.sets = [set(terms) for terms in self.documents]

    def held(self, term: str) -> np.ndarray:
        return np.array([term in one for one in self.sets])

    def match(self, terms: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, float]:
        bm25, coverage, total = np.zeros(len(self.sets), np.float32), np.zeros(len(self.sets), np.float32), 0.0
        for term in dict.fromkeys(terms):
            held = self.held(term)
            idf = float(np.log1p((len(held) - held.sum() + 0.5) / (held.sum() + 0.5)))
            total += idf
            if held.any():
                bm25 += self.bm25s.get_scores([term]).astype(np.float32)
                coverage[held] += idf
        return bm25, coverage / total if total else coverage, total


class Reference:
    """A search that scores every product in every field, in the open."""

    def __init__(self, products: list[Product], vectors: np.ndarray, tokens: list[np.ndarray]) -> None:
        self.products, self.vectors, self.tokens = products, vectors, tokens
        self.full = Field([lexical_tokens(product.full_text) for product in products])
        self.title = Field([lexical_tokens(product.short_text) for product in products])
        self.category = Field([lexical_tokens(product.category[-1]) for product in products])
        counts: dict[str, int] = {}
        for product in products:
            for word in {word for word in fold(product.full_text).replace("-", " ").split() if len(word) >= 4}:
                if word.isascii() and word.isalpha():
                    counts[word] = counts.get(word, 0) + 1
        self.words = sorted(counts, key=lambda word: (-counts[word], word))

    def spelt(self, word: str) -> str:
        if word in self.words or len(word) < 4 or not word.isalpha() or word in ("without",) or word.endswith("less"):
            return word
        found = process.extractOne(word, self.words, scorer=OSA.normalized_similarity, score_cutoff=LIKENESS)
        return word if found is None else found[0]

    def allowed(self, filters: Filters) -> np.ndarray:
        return np.array([passes(product, filters) for product in self.products])

    def search(self, text: str, query: np.ndarray, filters: Filters) -> dict[str, np.ndarray]:
        terms = dict.fromkeys(lexical_tokens(" ".join(map(self.spelt, text.split()))))
        wanted = tuple(term for term in terms if not term.startswith(NEGATED))
        denied = tuple(term.removeprefix(NEGATED) for term in terms if term.startswith(NEGATED))
        every = (*wanted, *(NEGATED + term for term in denied), *denied)
        allowed = self.allowed(filters)
        shares = [match / max(match.max(), 1e-6) for match in (f.match(every)[0] for f in (self.full, self.title))]
        scores = np.where(allowed, shares[0] + shares[1], 0)
        lexical = [row for row in np.lexsort((np.arange(len(scores)), -scores)) if scores[row] > 0][:DEPTH]
        dense = [row for row in np.argsort(-(self.vectors @ query), kind="stable") if allowed[row]][:DEPTH]
        fused: dict[int, float] = {}
        for ranking in (lexical, dense):
            for place, row in enumerate(ranking, start=1):
                fused[row] = fused.get(row, 0.0) + 1 / (RRF_K + place)
        rows = np.array(sorted(fused, key=lambda row: (-fused[row], row))[:CANDIDATES], np.int64)
        tokens = np.zeros((CANDIDATES, max([len(self.tokens[r]) for r in rows], default=1), TOKEN_WIDTH), np.int8)
        for place, row in enumerate(rows):
            tokens[place, : len(self.tokens[row])] = self.tokens[row]
        return {"rows": rows, "signals": self.signals(wanted, denied, rows, query), "tokens": tokens}

    def signals(self, wanted: tuple[str, ...], denied: tuple[str, ...], rows: np.ndarray, query: np.ndarray):
        full, title, category = (field.match(wanted) for field in (self.full, self.title, self.category))

        def share(field: Field, terms: list[str]) -> np.ndarray:
            return sum((field.held(term)[rows] for term in terms), np.zeros(len(rows), np.float32)) / max(len(terms), 1)

        some = [self.products[row] for row in rows]
        columns = {
            "bm25": full[0][rows] / max(full[2], 1e-6),
            "bm25_title": title[0][rows] / max(title[2], 1e-6),
            "coverage": full[1][rows],
            "coverage_title": title[1][rows],
            "coverage_category": category[1][rows],
            "complete": full[1][rows] > 1 - 1e-6,
            "numbers": share(self.full, [term for term in wanted if term[0].isdigit()]),
            "denied_title": share(self.title, list(denied)),
            "denial_met": share(self.full, [NEGATED + term for term in denied]),
            "title_length": np.log1p([len(lexical_tokens(product.short_text)) for product in some]),
            "popularity": np.log10([1 + (product.rating_count or 0) for product in some]),
            "cosine": self.vectors[rows] @ query,
        }
        return np.stack([np.asarray(columns[name], np.float32) for name in SIGNALS], axis=1)


def passes(product: Product, filters: Filters) -> bool:
    price = None if product.price is None else np.float32(product.price)
    bounds = (filters.price_min, filters.price_max)
    return (
        (filters.category is None or filters.category.casefold() in [part.casefold() for part in product.category])
        and (filters.brand is None or filters.brand.casefold() == product.brand.casefold() != "")
        and (bounds == (None, None) or price is not None)
        and (filters.price_min is None or price >= np.float32(filters.price_min))
        and (filters.price_max is None or price <= np.float32(filters.price_max))
        and (not filters.in_stock or product.stock != 0)
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
        if filters == Filters():
            assert allowed is None
        else:
            assert allowed.tolist() == [passes(product, filters) for product in products]

    def test_pass_a_price_to_the_cent(self, shop):
        facets, products = shop
        passing = np.flatnonzero(facets.allowed(Filters(price_min=19.99, price_max=19.99)))
        assert products[-1].price == 19.99
        assert passing.tolist() == [row for row, product in enumerate(products) if product.price == 19.99]


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
