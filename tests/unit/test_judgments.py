"""What is read of a shop's judgments, and the splits that queries fall into."""

from pathlib import Path

import pytest

from shelfbridge.catalogue import Catalogue, Label, Product, read_catalogue, read_judgments, split_of
from shelfbridge.errors import DataError
from tests.unit.catalogue_files import TWO, file, jsonl, table


@pytest.fixture
def products():
    return Catalogue(tuple(Product(**row) for row in TWO))


class TestJudgments:
    def read(self, folder: Path, products: Catalogue, *rows: dict):
        return read_judgments(jsonl(folder, *rows), products)

    def row(self, **fields) -> dict:
        return {"query_id": "q1", "query": "shoes", "product_id": "p1", "label": "E", "split": "dev", **fields}

    def test_are_read_and_grouped(self, tmp_path, products):
        read = self.read(tmp_path, products, self.row(), self.row(product_id="p2", label="I"), self.row(query_id="q2"))
        assert read.queries == {"q1": "shoes", "q2": "shoes"}
        assert read.by_query["q1"] == {"p1": Label.EXACT, "p2": Label.IRRELEVANT}
        assert len(read.of("dev").rows) == 3
        assert read.of("test").rows == ()

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"product_id": "p9"}, "product_id: 'p9' is not in the catalogue"),
            ({"label": "X"}, "label: "),
            ({"label": None}, "label: "),
            ({"split": "holdout"}, "split: "),
            ({"query": " "}, "query: is blank"),
            ({"query": "red shoes"}, "query_id: 'q1' is that of another query above"),
            ({"query": "x" * 10_000}, "query: is 10000 bytes long; send at most 512 characters"),
            ({"query": "赤" * 600}, "query: is 600 characters long; send at most 512"),
            ({"query_id": ""}, "query_id: is blank"),
            ({"query_id": None}, "query_id: "),
        ],
    )
    def test_bad_ones_are_left_out_by_line_and_reason(self, tmp_path, products, fields, reason):
        read = self.read(tmp_path, products, self.row(), self.row(**fields))
        assert len(read.rows) == 1
        assert [row.line for row in read.rejected] == [2]
        assert read.rejected[0].reason.startswith(reason)

    def test_a_query_in_another_case_is_the_same(self, tmp_path, products):
        read = self.read(tmp_path, products, self.row(), self.row(query="Shoes", product_id="p2"))
        assert (len(read.rows), read.rejected) == (2, ())

    @pytest.mark.parametrize("blank", ["", None])
    def test_without_a_split_the_query_decides(self, tmp_path, products, blank):
        read = self.read(tmp_path, products, self.row(split=blank))
        assert read.rows[0].split == split_of("shoes")

    def test_without_the_column_the_query_decides(self, tmp_path, products):
        path = file(tmp_path, "j.csv", "query_id,query,product_id,label\nq1,shoes,p1,E\n")
        assert read_judgments(path, products).rows[0].split == split_of("shoes")

    def test_half_a_character_in_a_query_is_harmless(self, tmp_path, products):
        row = self.row(query="shoes \ud83d")
        del row["split"]
        assert self.read(tmp_path, products, row).rows[0].query == "shoes"

    def test_the_split_of_a_query_never_changes(self):
        assert [split_of(query) for query in ("shoes", "dog", "kettle")] == ["train", "dev", "test"]

    def test_the_same_query_lies_in_one_split(self):
        queries = [f"query {number}" for number in range(200)]
        assert all(split_of(f" {query.replace(' ', '  ')}\u00ad") == split_of(query) for query in queries)

    def test_splits_have_their_shares(self):
        splits = [split_of(f"query {number}") for number in range(2000)]
        assert 0.75 < splits.count("train") / 2000 < 0.85
        assert 0.07 < splits.count("dev") / 2000 < 0.13

    def test_whole_numbers_are_ids_too(self, tmp_path):
        products = read_catalogue(table(tmp_path, product_id=[7], title=["shoes"]))
        read = self.read(tmp_path, products, self.row(query_id=12, product_id=7))
        assert read.by_query == {"12": {"7": Label.EXACT}}

    def test_none_at_all_is_an_error_that_says_why(self, tmp_path, products):
        with pytest.raises(DataError, match=r"no usable judgment\. 1 row was left out:\n  line 1: label: "):
            self.read(tmp_path, products, self.row(label="exact"))

    def test_gains_are_the_data_sets_own(self):
        assert [Label(label).gain for label in "ESCI"] == [1.0, 0.1, 0.01, 0.0]
