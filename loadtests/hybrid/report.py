"""The report of a run: JSON, Markdown, PNG and a page. The console shows what people ask first."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from loadtests.hybrid import page
from loadtests.hybrid.plots import draw
from loadtests.hybrid.tables import sentence, tables
from shelfbridge.measure.report import Report, Table, markdown

DETAILS = ("By phase", "Where the time went")
"""How the titles of tables begin that are too long for a console."""


def write(folder: Path, record: dict[str, Any]) -> None:
    """Write `run.json`, `run.md`, `run.png` and `run.html`."""
    text = _markdown(record, tables(record))
    Report("run", record, [text], partial(draw, record=record), (13, 7.2)).write(folder)
    page.write(
        folder / "run.html",
        title=record["name"],
        sentence=sentence(record),
        kept=record["verdict"]["kept"],
        tables=tables(record),
        pictures=[folder / "run.png"],
        links=[("Locust's own report", "locust.html")],
    )


def summary(record: dict[str, Any]) -> str:
    """The shorter tables."""
    return _markdown(record, [each for each in tables(record) if not each.title.startswith(DETAILS)])


def _markdown(record: dict[str, Any], found: Iterable[Table]) -> str:
    return markdown([f"## {record['name']}", sentence(record), *found])
