"""The sample is the same everywhere, its judgments follow from its facts, and comparing words does not solve it."""

import re
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path
from statistics import mean

import bm25s
import ir_measures
import pytest

from build.sample import Sample, make_sample
from build.sample.generate import QUERIES
from build.sample.products import Item
from build.sample.queries import MOST_ANSWERS
from build.sample.vocabulary import load
from shelfbridge.catalogue import Judgment, Label, Product, read_catalogue, read_judgments
from shelfbridge.text import lexical_tokens

SEED, PRODUCTS = 7, 3200
CJK = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample(SEED, PRODUCTS)


@pytest.fixture(scope="module")
def products(sample: Sample) -> list[Product]:
    return sample.products


@pytest.fixture(scope="module")
def judged(sample: Sample) -> dict[str, dict[str, Judgment]]:
    table: dict[str, dict[str, Judgment]] = {}
    for row in sample.judgments:
        table.setdefault(row.query_id, {})[row.product_id] = row
    return table


def fingerprint(sample: Sample) -> str:
    rows = [row.model_dump_json() for row in (*sample.products, *sample.judgments)]
    return sha256("\n".join(rows).encode()).hexdigest()


def test_another_process_makes_the_same() -> None:
    code = "from test_sample import *; print(fingerprint(make_sample(3, 400)))"
    environment = {"PYTHONHASHSEED": "12345", "PYTHONPATH": f"{Path(__file__).parents[2]}:{Path(__file__).parent}"}
    there = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert there == fingerprint(make_sample(3, 400))
    assert there != fingerprint(make_sample(4, 400))


def test_counts(sample: Sample, products: list[Product]) -> None:
    assert len({product.product_id for product in products}) == PRODUCTS
    assert len({product.category[0] for product in products}) >= 13
    assert Counter(query.kind for query in sample.queries.values()) == QUERIES
    assert 0.03 < mean(product.stock == 0 for product in products) < 0.1


def test_it_is_written_and_read_without_loss(tmp_path: Path, sample: Sample, products: list[Product]) -> None:
    sample.write(tmp_path)
    catalogue = read_catalogue(tmp_path / "products.jsonl")
    judgments = read_judgments(tmp_path / "judgments.tsv", catalogue)
    assert list(catalogue.products) == products
    assert list(judgments.rows) == sample.judgments


def test_every_kind_is_in_every_split(sample: Sample) -> None:
    queries = {row.query_id: row.split for row in sample.judgments}
    assert {(query_id.split("-")[0], split) for query_id, split in queries.items()} == {
        (kind, split) for kind in QUERIES for split in ("train", "dev", "test")
    }
    shares = Counter(queries.values())
    assert shares["train"] / len(queries) == pytest.approx(0.7, abs=0.02)
    assert shares["dev"] == shares["test"]


def test_no_two_queries_have_the_same_answers_or_words(sample: Sample, judged: dict[str, dict[str, Judgment]]) -> None:
    answers = [frozenset(key for key, row in rows.items() if row.label == Label.EXACT) for rows in judged.values()]
    assert len(set(answers)) == len(answers)
    texts = [tuple(sorted(lexical_tokens(query.text))) for query in sample.queries.values()]
    assert len(set(texts)) == len(texts)


def test_exact_is_all_that_satisfies_and_nothing_else(sample: Sample, judged: dict[str, dict[str, Judgment]]) -> None:
    of_kind: dict[str, list[Item]] = {}
    for item in sample.items:
        of_kind.setdefault(item.kind, []).append(item)
    for query_id, query in sample.queries.items():
        exact = {key for key, row in judged[query_id].items() if row.label == Label.EXACT}
        right_type = [item for kind in query.types for item in of_kind[kind]]
        assert exact == {item.product.product_id for item in right_type if query.answered_by(item)}
        assert 1 <= len(exact) <= MOST_ANSWERS
        assert 20 <= len(judged[query_id]) <= MOST_ANSWERS + 30


def test_exact_answers_are_free_of_what_the_query_refuses(
    sample: Sample, judged: dict[str, dict[str, Judgment]]
) -> None:
    """Held against the words of the query, apart from how it was made."""
    traits = load().traits
    items = {item.product.product_id: item for item in sample.items}
    checked = 0
    for query_id, rows in judged.items():
        text = sample.queries[query_id].text
        exact = [items[key] for key, row in rows.items() if row.label == Label.EXACT]
        refused = [
            (trait, key)
            for trait in exact[0].truth.keys() & traits.keys()
            for key, value in traits[trait].items()
            if query_id.startswith("negated") and any(text.endswith(deny.lower()) for deny in value.deny)
        ]
        for trait, key in refused:
            checked += 1
            assert all(key not in item.truth[trait] for item in exact), text
    assert checked >= 80


def test_a_phrase_means_one_thing() -> None:
    """Of one trait, no phrase of a shopper stands for two different sets of values."""
    for trait, values in load().traits.items():
        meant: dict[str, set[frozenset[str]]] = {}
        for key, value in values.items():
            for phrase in (*value.asks, *value.title):
                meant.setdefault(phrase.lower(), set()).add(frozenset([key]))
            for phrase in value.deny:
                meant.setdefault(phrase.lower(), set()).add(frozenset(values.keys() - {key}))
        assert {phrase: sets for phrase, sets in meant.items() if len(sets) > 1} == {}, trait


def test_complements_go_with_the_product(sample: Sample, judged: dict[str, dict[str, Judgment]]) -> None:
    words = load()
    kinds = {item.product.product_id: item.kind for item in sample.items}
    for query_id, query in sample.queries.items():
        for key, row in judged[query_id].items():
            if row.label == Label.COMPLEMENT:
                assert any(kinds[key] in words.complements(kind) for kind in query.types)


def test_there_is_a_chinese_shelf(sample: Sample, products: list[Product]) -> None:
    chinese = [product for product in products if CJK.search(product.title)]
    assert 140 <= len(chinese) <= 200
    assert all(CJK.search(product.bullet_points + product.description) for product in chinese)
    assert all(CJK.search(query.text) for query in sample.queries.values() if query.kind == "chinese")


def test_every_product_reads_like_one(products: list[Product]) -> None:
    for product in products:
        assert not re.search(r"[{}]|\(\)|  |- -|, ,|,$", product.full_text), product.title
        assert product.bullet_points
        assert product.price


def test_comparing_words_does_not_solve_it(sample: Sample, products: list[Product]) -> None:
    index = bm25s.BM25()
    index.index([lexical_tokens(product.full_text) for product in products], show_progress=False)
    run = []
    for query_id, query in sample.queries.items():
        rows, scores = index.retrieve([lexical_tokens(query.text)], k=10, show_progress=False)
        found = zip(rows[0], scores[0], strict=True)
        run += [ir_measures.ScoredDoc(query_id, products[row].product_id, float(score)) for row, score in found]
    gains = {Label.EXACT: 100, Label.SUBSTITUTE: 10, Label.COMPLEMENT: 1, Label.IRRELEVANT: 0}
    qrels = [ir_measures.Qrel(row.query_id, row.product_id, gains[row.label]) for row in sample.judgments]
    by_kind: dict[str, list[float]] = {}
    for metric in ir_measures.iter_calc([ir_measures.nDCG @ 10], qrels, run):
        by_kind.setdefault(metric.query_id.split("-")[0], []).append(metric.value)
    assert 0.4 < mean(value for values in by_kind.values() for value in values) < 0.65
    assert all(mean(values) < 0.75 for kind, values in by_kind.items() if kind != "brand")
