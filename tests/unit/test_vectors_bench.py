"""The growth of costs with the catalogue: what products are made from, and what is said of them."""

import numpy as np
import pytest

from loadtests.lab.bench_index.__main__ import draw, exponents, table
from loadtests.lab.bench_index.corpus import (
    HELD_OUT,
    Corpus,
    corpus,
    intrinsic_dimension,
    more_texts,
    more_vectors,
    read_texts,
    three_words,
)
from loadtests.lab.bench_index.costs import measure_search, measure_vectors, measure_whole
from shelfbridge.errors import DataError
from shelfbridge.measure.report import picture

WIDTH = 24


def unit(count: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((count, WIDTH)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def texts(count: int) -> list[str]:
    return [f"mug {row} blue {row % 7} steel" for row in range(count)]


class TestMadeProducts:
    def test_come_after_the_real_ones_and_are_unit_vectors(self):
        made = more_vectors(unit(50), 300)
        np.testing.assert_array_equal(made[:50], unit(50))
        np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, rtol=1e-5)
        assert len(np.unique(made, axis=0)) == 300

    def test_are_near_a_real_one_and_never_equal_to_it(self):
        nearest = (more_vectors(unit(50), 2000)[50:] @ unit(50).T).max(1)
        assert nearest.min() > 0.4
        assert nearest.max() < 1 - 1e-5

    def test_do_not_make_neighbourhoods_easier(self):
        few, queries = unit(2000), unit(40, seed=9)
        assert intrinsic_dimension(more_vectors(few, 20_000), queries) > 0.9 * intrinsic_dimension(few, queries)

    def test_have_texts_of_words_that_products_have(self):
        made = more_texts(texts(20), 200)
        assert made[:20] == texts(20)
        assert len(made) == 200
        assert len(set(made)) > 100
        assert set(" ".join(made).split()) <= set(" ".join(texts(20)).split())

    def test_are_not_made_where_there_are_enough_real_ones(self):
        assert more_texts(texts(20), 5) == texts(5)
        np.testing.assert_array_equal(more_vectors(unit(20), 5), unit(20)[:5])


class TestQueries:
    def test_are_of_products_that_are_held_out(self):
        encoded = []

        def encode(some):
            encoded.append(some)
            return unit(len(some))

        real = corpus(texts(2000), encode)
        words, held, rest, likely = encoded
        assert len(words) == len(held) == len(likely) == HELD_OUT
        assert not set(held) & set(rest)
        assert real.texts == rest
        assert all(set(query.split()) <= set(text.split()) for query, text in zip(words, held, strict=True))

    def test_are_three_words(self):
        assert len(three_words("red steel mug with a lid", np.random.default_rng(0)).split()) == 3
        assert three_words("mug", np.random.default_rng(0)) == "mug"


class TestTexts:
    def test_are_titles_of_a_catalogue_once_each(self, tmp_path):
        rows = [f"{row},mug {row // 2}" for row in range(4 * HELD_OUT * 2)]
        (tmp_path / "products.csv").write_text("\n".join(["product_id,title", *rows]))
        assert len(read_texts(tmp_path / "products.csv")) == 4 * HELD_OUT

    def test_are_all_columns_of_another_file(self, tmp_path):
        rows = [f"{row},GROCERY,ICE {row},2 LB" for row in range(4 * HELD_OUT)]
        (tmp_path / "products.csv").write_text("\n".join(["product_id,department,kind,size", *rows]))
        assert read_texts(tmp_path / "products.csv")[7] == "GROCERY ICE 7 2 LB"

    def test_must_be_enough(self, tmp_path):
        (tmp_path / "products.csv").write_text("product_id,title\n1,mug")
        with pytest.raises(DataError, match="1 different texts"):
            read_texts(tmp_path / "products.csv")


def test_a_size_is_measured_told_and_drawn(tmp_path):
    real = Corpus(texts(600), unit(600), unit(20, 1), {"words": unit(20, 2), "texts": unit(20, 3)}, texts(20))
    np.save(tmp_path / "vectors.npy", unit(600))
    rows = []
    for count in (600, 1200, 2400):
        home = tmp_path / str(count)
        home.mkdir()
        row = {"products": count, "real": 600}
        for work in (measure_vectors, measure_search, measure_whole):
            row |= work(home, tmp_path / "vectors.npy", real)
        assert row["recall_words"] == row["recall_texts"] == 1
        assert {one["recall"] for one in row["filters"]} == {1}
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["index_mb"] == pytest.approx(row["stored_mb"], rel=0.01)
        rows.append(row)
    record = {"sizes": rows, "exponents": exponents(rows)}
    assert "| 2,400 | 600 |" in table(record)
    picture(tmp_path / "index.png", lambda figure: draw(figure, record), (9, 6))
    assert (tmp_path / "index.png").stat().st_size > 10_000


def test_exponents_are_fitted_where_three_sizes_have_the_cost():
    rows = [{"products": n, "p50_ms": 0.5 * n**0.7, "build_s": float(n)} for n in (10, 100, 1000)]
    del rows[1]["build_s"]
    assert exponents(rows) == {"p50_ms": pytest.approx(0.7)}
