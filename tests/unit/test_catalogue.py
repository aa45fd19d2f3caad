"""What is read of a shop's products, what is left out, and what is said of it."""

import json
from pathlib import Path

import pytest

from shelfbridge.catalogue import Catalogue, Product, read_catalogue, summary
from shelfbridge.errors import DataError
from tests.unit.catalogue_files import TWO, file, jsonl, table


def one(folder: Path, **fields) -> Product:
    (product,) = read_catalogue(jsonl(folder, {"product_id": "p", "title": "t", **fields})).products
    return product


def ids(catalogue: Catalogue) -> list[str]:
    return [product.product_id for product in catalogue.products]


def reasons(catalogue: Catalogue) -> dict[int, str]:
    return {row.line: row.reason for row in catalogue.rejected}


def rows_as(kind: str, folder: Path) -> Path:
    if kind == "jsonl":
        return jsonl(folder, *TWO)
    if kind == "parquet":
        return table(folder, product_id=["p1", "p2"], title=["red shoes", "blue tent"])
    mark = {"csv": ",", "tsv": "\t"}[kind]
    return file(folder, f"products.{kind}", "\n".join(mark.join(row) for row in [TWO[0], *(r.values() for r in TWO)]))


class TestFormats:
    @pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
    def test_needs_only_ids_and_titles(self, tmp_path, kind):
        catalogue = read_catalogue(rows_as(kind, tmp_path))
        assert [(p.product_id, p.title) for p in catalogue.products] == [("p1", "red shoes"), ("p2", "blue tent")]
        assert catalogue.rejected == ()
        assert catalogue.rows_of == {"p1": 0, "p2": 1}

    def test_leaves_unknown_columns_alone(self, tmp_path):
        path = file(tmp_path, "p.csv", "colour,title,product_id\nred,shoes,p1\n")
        assert read_catalogue(path).products == (Product(product_id="p1", title="shoes"),)

    def test_reads_blanks_around_column_names(self, tmp_path):
        assert ids(read_catalogue(file(tmp_path, "p.csv", "product_id, title\n1,a\n"))) == ["1"]

    @pytest.mark.parametrize("name", ["p.csv", "p.jsonl"])
    def test_reads_past_a_byte_order_mark(self, tmp_path, name):
        text = {"p.csv": "product_id,title\np1,a\n", "p.jsonl": '{"product_id": "p1", "title": "a"}\n'}[name]
        assert ids(read_catalogue(file(tmp_path, name, "\ufeff" + text))) == ["p1"]

    def test_reads_newlines_inside_quotes(self, tmp_path):
        path = file(tmp_path, "p.csv", 'product_id,title\np1,"red\nshoes"\np2,tent\n')
        assert [p.title for p in read_catalogue(path).products] == ["red shoes", "tent"]

    def test_reads_windows_line_ends(self, tmp_path):
        assert ids(read_catalogue(file(tmp_path, "p.csv", "product_id,title\r\np1,a\r\n\r\np2,b\r\n"))) == ["p1", "p2"]

    def test_reads_line_separators_inside_json_strings(self, tmp_path):
        path = file(tmp_path, "p.jsonl", '{"product_id": "p1", "title": "a\u2028b"}\n')
        assert read_catalogue(path).products[0].title == "a b"

    def test_reads_numbers_where_ids_are_numbers(self, tmp_path):
        assert ids(read_catalogue(table(tmp_path, product_id=[7, 8], title=["a", "b"]))) == ["7", "8"]

    def test_reads_parquet_strings_written_as_bytes(self, tmp_path):
        path = table(tmp_path, product_id=[b"p1"], title=["caf\u00e9  noir".encode()])
        assert read_catalogue(path).products == (Product(product_id="p1", title="café noir"),)

    def test_reads_columns_of_mixed_types(self, tmp_path):
        rows = [{"product_id": "p1", "title": 1984}, {"product_id": 2, "title": "b", "color": 5, "price": "7.50"}]
        first, second = read_catalogue(jsonl(tmp_path, *rows)).products
        assert first.title == "1984"
        assert (second.product_id, second.color, second.price) == ("2", "5", 7.5)


class TestOptionalColumns:
    def test_blank_and_nan_mean_not_known(self, tmp_path):
        product = one(tmp_path, price=float("nan"), stock="", rating=None, rating_count=" ", brand=None)
        assert (product.price, product.stock, product.rating, product.rating_count) == (None,) * 4
        assert product.brand == ""

    def test_whole_numbers_may_be_written_with_a_point(self, tmp_path):
        assert one(tmp_path, stock=3.0, rating_count="12.0").model_dump(include={"stock", "rating_count"}) == {
            "stock": 3,
            "rating_count": 12,
        }

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("price", -0.01),
            ("price", float("inf")),
            ("price", 1e300),
            ("price", "nan"),
            ("price", "cheap"),
            ("rating", 6),
            ("rating", -1),
            ("rating", "nan"),
            ("stock", -1),
            ("stock", 1.5),
            ("stock", "many"),
            ("stock", 10**400),
            ("rating_count", 10**30),
            ("category", {"a": 1}),
            ("category", 3),
        ],
    )
    def test_a_row_with_a_bad_value_is_left_out_by_name_of_the_column(self, tmp_path, column, value):
        catalogue = read_catalogue(jsonl(tmp_path, TWO[0], {**TWO[1], column: value}))
        assert ids(catalogue) == ["p1"]
        assert reasons(catalogue)[2].startswith(f"{column}: ")

    @pytest.mark.parametrize(
        "category", ["Sports > Camping >> Tents ", ["Sports", " Camping", "", "Tents"], ["Ｓports", "Camping", "Tents"]]
    )
    def test_a_category_is_a_path_or_a_list(self, tmp_path, category):
        assert one(tmp_path, category=category).category == ("Sports", "Camping", "Tents")

    @pytest.mark.parametrize("category", ["", " > ", [], None])
    def test_a_blank_category_is_none(self, tmp_path, category):
        assert one(tmp_path, category=category).category == ()

    def test_reads_lists_and_nulls_from_parquet(self, tmp_path):
        path = table(tmp_path, product_id=["a", "b"], title=["x", "y"], category=[["A", "B"], None], price=[None, 2.5])
        first, second = read_catalogue(path).products
        assert (first.category, first.price) == (("A", "B"), None)
        assert (second.category, second.price) == ((), 2.5)


class TestBadRows:
    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ({"title": "x"}, "product_id: "),
            ({"product_id": " ", "title": "x"}, "product_id: is blank"),
            ({"product_id": "a\nb", "title": "x"}, "product_id: "),
            ({"product_id": "x" * 257, "title": "x"}, "product_id: "),
            ({"product_id": "\ud800", "title": "x"}, "product_id: "),
            ({"product_id": 7.5, "title": "x"}, "product_id: "),
            ({"product_id": "p3"}, "title: "),
            ({"product_id": "p3", "title": None}, "title: is blank"),
            ({"product_id": "p3", "title": " \u200b\x07"}, "title: is blank"),
            ({"product_id": "p1", "title": "x"}, "product_id: 'p1' was given before"),
        ],
    )
    def test_are_left_out_by_line_and_reason(self, tmp_path, row, reason):
        catalogue = read_catalogue(jsonl(tmp_path, TWO[0], row, TWO[1]))
        assert ids(catalogue) == ["p1", "p2"]
        assert list(reasons(catalogue)) == [2]
        assert reasons(catalogue)[2].startswith(reason)

    def test_null_titles_of_parquet_are_left_out_by_row(self, tmp_path):
        catalogue = read_catalogue(table(tmp_path, product_id=["a", "b", "c"], title=["x", None, "z"]))
        assert ids(catalogue) == ["a", "c"]
        assert reasons(catalogue) == {2: "title: is blank"}

    def test_half_a_character_does_not_cost_the_product(self, tmp_path):
        assert one(tmp_path, title="shoes \ud83d").title == "shoes"

    def test_a_line_of_too_many_fields_is_left_out(self, tmp_path):
        catalogue = read_catalogue(file(tmp_path, "p.csv", "product_id,title\np1,red, shoes\np2,tent\n"))
        assert ids(catalogue) == ["p2"]
        assert reasons(catalogue) == {2: "3 fields, the header has 2"}

    def test_a_line_of_too_few_fields_lacks_the_last(self, tmp_path):
        catalogue = read_catalogue(file(tmp_path, "p.csv", "product_id,title,brand\np1\np2,tent\n"))
        assert catalogue.products == (Product(product_id="p2", title="tent"),)
        assert reasons(catalogue) == {2: "title: Field required"}

    def test_the_line_is_the_one_on_which_the_row_begins(self, tmp_path):
        text = 'product_id,title\np1,"red\n\nshoes"\n\n,"a\nb"\np2,tent\n'
        assert list(reasons(read_catalogue(file(tmp_path, "p.csv", text)))) == [6]

    def test_a_quote_that_never_closes_is_reported(self, tmp_path):
        catalogue = read_catalogue(file(tmp_path, "p.csv", 'product_id,title\np1,red\np2,"blue\np3,green\n'))
        assert ids(catalogue) == ["p1"]
        assert reasons(catalogue) == {3: "not readable as CSV: unexpected end of data"}

    def test_an_endless_field_is_left_out(self, tmp_path):
        catalogue = read_catalogue(file(tmp_path, "p.csv", f"product_id,title\np1,{'x' * (1 << 24)}x\np2,tent\n"))
        assert ids(catalogue) == ["p2"]
        assert "field larger than field limit" in reasons(catalogue)[2]

    @pytest.mark.parametrize("line", ['{"product_id"', "[1]", "null", "[" * 100_000, '{"price": ' + "9" * 5000 + "}"])
    def test_a_broken_json_line_is_left_out(self, tmp_path, line):
        text = "\n".join([json.dumps(TWO[0]), line, json.dumps(TWO[1])])
        catalogue = read_catalogue(file(tmp_path, "p.jsonl", text))
        assert ids(catalogue) == ["p1", "p2"]
        assert reasons(catalogue)[2].startswith(("not JSON: ", "not a JSON object"))

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("p.csv", b"product_id,title\np1,caf\xe9\np2,tent\n"),
            ("p.jsonl", b'\n{"product_id": "p1", "title": "caf\xe9"}\n{"product_id": "p2", "title": "tent"}\n'),
        ],
    )
    def test_bytes_that_are_not_utf_8_are_reported(self, tmp_path, name, text):
        catalogue = read_catalogue(file(tmp_path, name, text))
        assert ids(catalogue) == ["p2"]
        assert reasons(catalogue) == {2: "not UTF-8; save the file with that encoding"}

    def test_the_summary_counts_and_shows_the_first(self, tmp_path):
        catalogue = read_catalogue(jsonl(tmp_path, TWO[0], *[{"product_id": "p1", "title": "x"}] * 7))
        text = summary(catalogue.rejected)
        assert text.startswith("7 rows were left out:\n  line 2: product_id: 'p1' was given before\n")
        assert text.endswith("\n  and 2 more")

    def test_the_summary_of_one_or_none_is_plain(self, tmp_path):
        assert summary(read_catalogue(jsonl(tmp_path, *TWO)).rejected) == "No row was left out."
        assert summary(read_catalogue(jsonl(tmp_path, *TWO, TWO[0])).rejected).startswith("1 row was left out:\n")


class TestBadFiles:
    @pytest.mark.parametrize(
        ("name", "content", "cure"),
        [
            ("p.xlsx", b"x", r"use \.csv, \.tsv, \.jsonl, \.parquet"),
            ("products", b"x", r"without ending is not read; use \.csv"),
            ("p.csv", b"", "column product_id, title is missing; found none"),
            ("p.csv", b"id,title\np1,a\n", "column product_id is missing; found id, title"),
            ("p.tsv", b"product_id,title\np1,a\n", "column product_id, title is missing"),
            ("p.csv", "product_id,title\n".encode("utf-16"), "not UTF-8; save the file"),
            ("p.csv", b"product_id,title\n", "no usable product"),
            ("p.csv", b"product_id,title\np1,\n", "no usable product. 1 row was left out:\n  line 2: title: is blank"),
            ("p.jsonl", b"", "no usable product"),
            ("p.jsonl", b'{"id": "p1", "title": "a"}\n', "line 1: product_id: Field required"),
            ("p.parquet", b"", "not a whole Parquet file .* copy or export it again"),
            ("p.parquet", b"product_id,title\n", "not a whole Parquet file"),
        ],
    )
    def test_are_named_with_the_cure(self, tmp_path, name, content, cure):
        path = file(tmp_path, name, content)
        with pytest.raises(DataError, match=cure) as raised:
            read_catalogue(path)
        assert str(raised.value).startswith(f"{path}: ")

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(DataError, match=r"nowhere\.csv: no such file; give the path of a \.csv"):
            read_catalogue(tmp_path / "nowhere.csv")

    def test_a_folder_is_no_file(self, tmp_path):
        with pytest.raises(DataError, match="no such file"):
            read_catalogue(tmp_path)

    def test_a_parquet_file_without_the_columns_is_named(self, tmp_path):
        with pytest.raises(DataError, match="column title is missing; found product_id, name"):
            read_catalogue(table(tmp_path, product_id=["a"], name=["x"]))

    @pytest.mark.parametrize("damage", ["cut", "zeros"])
    def test_a_damaged_parquet_file_is_named(self, tmp_path, damage):
        path = table(tmp_path, product_id=[f"p{i}" for i in range(2000)], title=[f"t{i * 7919}" for i in range(2000)])
        whole = path.read_bytes()
        path.write_bytes(whole[:-100] if damage == "cut" else whole[:100] + bytes(2000) + whole[2100:])
        with pytest.raises(DataError, match=r"products\.parquet: .*; (copy|see)"):
            read_catalogue(path)


class TestTexts:
    def test_the_short_text_names_brand_and_colour_once(self):
        assert Product(product_id="p", title="ACME red tent", brand="Acme", color="blue").short_text == (
            "ACME red tent blue"
        )

    def test_the_full_text_holds_everything_written(self):
        product = Product(
            product_id="p", title="tent", brand="Acme", category="A > B", bullet_points="light", description="for two"
        )
        assert product.full_text == "tent Acme A B light for two"

    def test_an_id_is_not_normalised(self):
        assert Product(product_id=" Ａ  ½ ", title="x").product_id == "Ａ  ½"
