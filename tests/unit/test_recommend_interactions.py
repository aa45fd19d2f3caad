from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from build.shelf.interactions import DAY, read
from shelfbridge.errors import DataError

INVOICES = pd.DataFrame(
    [
        ("536365", "85123A", "WHITE HEART", 6, "2010-12-01 08:26:00", 2.5, 17850.0),
        ("536365", "85123a", "white heart", 2, "2010-12-01 08:26:00", 2.5, 17850.0),
        ("C536366", "85123A", "WHITE HEART", 6, "2010-12-02 08:26:00", 2.5, 17850.0),
        ("536367", "85123A", "WHITE HEART", -6, "2010-12-02 08:26:00", 2.5, 17850.0),
        ("536368", "85123A", "WHITE HEART", 1, "2010-12-02 08:26:00", 0.0, 17850.0),
        ("536369", "POST", "POSTAGE", 1, "2010-12-02 08:26:00", 18.0, 17850.0),
        ("536370", "85123A", "WHITE HEART", 1, "2010-12-02 08:26:00", 2.5, None),
        ("536371", "22633", "HAND WARMER", 1, "2010-12-01 08:00:00", 1.5, 13047.0),
        ("536371", "85123A", "WHITE HEART", 1, "2010-12-01 08:01:00", 2.5, 13047.0),
    ],
    columns=["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"],
)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_invoices_hold_what_known_customers_bought(tmp_path, suffix):
    file = tmp_path / f"invoices{suffix}"
    frame = INVOICES.assign(InvoiceDate=pd.to_datetime(INVOICES.InvoiceDate)) if suffix == ".parquet" else INVOICES
    frame.to_csv(file, index=False) if suffix == ".csv" else frame.to_parquet(file)
    found = read(file)
    assert found.users == ("13047", "17850")
    assert found.items == ("22633", "85123A")
    assert found.titles == ("HAND WARMER", "WHITE HEART")
    assert found.user.tolist() == [0, 0, 1, 1]
    assert found.quantity.tolist() == [1, 1, 6, 2]
    assert found.price.tolist() == [1.5, 2.5, 2.5, 2.5]
    assert found.basket.tolist() == [0, 0, 1, 1]
    begun = pd.Timestamp("2010-12-01 08:00:00", tz="UTC").timestamp()
    assert found.time.tolist() == [begun, begun, begun + 26 * 60, begun + 26 * 60]


def table(tmp_path: Path, text: str, name: str = "shop.csv") -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path / name


class TestTable:
    def test_comes_in_the_order_of_time(self, tmp_path):
        found = read(table(tmp_path, "user,product_id,time\nb,x,20\na,y,10\nb,z,20\n"))
        assert found.time.tolist() == [10, 20, 20]
        assert [found.users[user] for user in found.user] == ["a", "b", "b"]
        assert [found.items[item] for item in found.item] == ["y", "x", "z"]
        assert found.basket.tolist() == [0, 1, 1]
        assert found.quantity.tolist() == [1, 1, 1]
        assert np.isnan(found.price).all()
        assert found.titles == ("", "", "")

    def test_ids_stay_as_they_are_written(self, tmp_path):
        found = read(table(tmp_path, "user,product_id,time,basket\n07,001,10,01\n7,1,20,1\n"))
        assert (found.users, found.items, found.basket.tolist()) == (("07", "7"), ("001", "1"), [0, 1])

    def test_a_row_without_user_product_or_time_is_left_out(self, tmp_path):
        """They are no shopper called nan, who buys more than all others."""
        found = read(table(tmp_path, "user,product_id,time\na,x,10\n,x,20\na,,30\na,y,\n"))
        assert (found.users, found.items, found.time.tolist()) == (("a",), ("x",), [10])

    @pytest.mark.parametrize("row", ["a,x,yesterday,1", "a,x,10,many"])
    def test_what_is_no_time_or_number_is_named(self, tmp_path, row):
        file = table(tmp_path, f"user,product_id,time,quantity\n{row}\n")
        with pytest.raises(DataError, match=r"shop\.csv: a time, quantity or price cannot be read .*ISO 8601"):
            read(file)

    def test_times_may_be_written_out(self, tmp_path):
        lines = '{"user": "1", "product_id": "007", "time": "2024-01-02T00:00:00Z", "title": "a"}\n'
        found = read(table(tmp_path, lines, "shop.jsonl"))
        assert found.time.tolist() == [19_724 * DAY]
        assert found.items == ("007",)

    def test_parts_keep_the_numbers(self, tmp_path):
        found = read(table(tmp_path, "user,product_id,time\na,x,10\nb,y,20\nc,z,30\n"))
        assert found.before(20).item.tolist() == [0]
        assert found.between(20, 30).user.tolist() == [1]
        assert found.before(20).items == found.items


class TestRefusals:
    def test_other_columns(self, tmp_path):
        with pytest.raises(DataError, match=r"needs the columns user, product_id, time; it has user, thing"):
            read(table(tmp_path, "user,thing\n1,2\n"))

    def test_nothing_inside(self, tmp_path):
        with pytest.raises(DataError, match="holds no interaction"):
            read(table(tmp_path, "user,product_id,time\n"))

    def test_other_kinds_of_file(self, tmp_path):
        with pytest.raises(DataError, match=r"not a kind of file that is read here; give \.parquet, \.csv, \.jsonl"):
            read(table(tmp_path, "", "shop.txt"))

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read(tmp_path / "none.csv")
