"""A record is told in rows that a program declares, and written as JSON, Markdown and a picture."""

import json
from dataclasses import dataclass

import pytest

from shelfbridge.measure.report import DIFFERENCE, Report, Table, bars, cell, markdown, reach

FIGURES = [{"mean": 0.5, "low": 0.4, "high": 0.7}, {"mean": 0.25, "low": 0.25, "high": 0.25}]


@dataclass
class Row:
    name: str
    ms: float | None


def test_a_record_is_written_told_and_drawn(tmp_path, capsys):
    table = Table(["a", "b"], [["1", "[x]"]])
    report = Report(
        "some", {"a": 1}, [table, "", "Told."], lambda figure: bars(figure.subplots(), "xy", FIGURES), (4, 2)
    )
    report.write(tmp_path / "out", quiet=False)
    assert capsys.readouterr().out == "| a | b |\n| --- | --- |\n| 1 | [x] |\n\nTold.\n"
    assert json.loads((tmp_path / "out" / "some.json").read_text()) == {"a": 1}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["some.json", "some.md", "some.png"]
    assert (tmp_path / "out" / "some.png").read_bytes().startswith(b"\x89PNG")


def test_columns_are_formats_or_functions_of_mappings_or_objects():
    rows = [Row("x", 1.25), {"name": "y", "ms": None}]
    table = Table.of({"name": "{name}", "ms": "{ms:.1f}", "long": lambda row: str(len(cell("{name}", row)))}, rows)
    assert table.rows == [["x", "1.2", "1"], ["y", "", "1"]]
    assert cell("{dev[mean]:.2f} of {of:,}", {"dev": {"mean": 0.5}, "of": 1000}) == "0.50 of 1,000"
    assert cell(DIFFERENCE, {"difference": 0.01, "low": -0.02, "high": 0.03}) == "+0.0100 [-0.0200, +0.0300]"


def test_a_field_that_a_row_lacks_is_an_error():
    with pytest.raises(KeyError):
        Table.of({"ms": "{ms:.1f}"}, [{"name": "x"}])


def test_titles_and_paragraphs_are_apart():
    assert markdown(["one", Table(["a"], [["1"]], "All")]) == "one\n\n### All\n\n| a |\n| --- |\n| 1 |\n"


def test_error_bars_reach_to_the_ends_of_the_interval():
    assert reach(FIGURES, "mean") == [[pytest.approx(0.1), 0], [pytest.approx(0.2), 0]]
