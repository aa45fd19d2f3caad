"""The reports of runs: JSON, Markdown, PNG and a page that needs nothing beside it."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from loadtests.hybrid.measured import PERCENTILES
from loadtests.hybrid.plots import draw
from shelfbridge.measure.report import Cell, Report, Table, markdown

Record = Mapping[str, Any]
KEPT = {True: "kept", False: "**missed**"}


def number(value: float | None) -> str:
    """Return milliseconds, or another quantity of which three digits are enough."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def figure(field: str) -> Cell:
    """Return a column that shows a field as `number` does."""
    return lambda row: number(row[field])


def titled(title: str, columns: Mapping[str, Cell], rows: Iterable[Record]) -> Table:
    """Return a table of a report that has several."""
    return replace(Table.of(columns, rows), title=title)


TIMES = {name: figure(name) for name in (*PERCENTILES, "max")}


def publish(
    report: Report, folder: Path, *, kept: bool, links: Sequence[tuple[str, str]] = (), quiet: bool = False
) -> None:
    """Write a report and its page: title, a sentence, then tables; links are relative to it.

    Args:
        report: its blocks are the title as a heading, the sentence, and tables.
        folder: of the files.
        kept: whether the promises were.
        links: names and addresses at the end of the page.
        quiet: print nothing.
    """
    report.write(folder, quiet=quiet)
    title, sentence, *tables = report.blocks
    picture = base64.b64encode((folder / f"{report.name}.png").read_bytes()).decode()
    pages = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    page = pages.get_template("page.html").render(
        title=str(title).lstrip("# "), sentence=sentence, kept=kept, tables=tables, picture=picture, links=links
    )
    (folder / f"{report.name}.html").write_text(page, encoding="utf-8")


def write(folder: Path, record: dict[str, Any]) -> None:
    """Write `run.json`, `run.md`, `run.png` and `run.html`."""
    blocks = [*_head(record), *_tables(record), *_details(record)]
    report = Report("run", record, blocks, partial(draw, record=record), (13, 7.2))
    publish(report, folder, kept=record["verdict"]["kept"], links=[("Locust's own report", "locust.html")], quiet=True)


def summary(record: Record) -> str:
    """Return what people ask first, for a console."""
    return markdown([*_head(record), *_tables(record)])


def _head(record: Record) -> list[str | Table]:
    failed = record["failed"]
    return [
        f"## {record['name']}",
        f"{record['about']}; {record['mode']}. {record['requests']:,} requests in {record['seconds']:g} s "
        f"({record['rate']:.0f} a second), {record['burst_share']:.0%} of the unrestricted ones answered by the public "
        f"site; failed: {failed['unrestricted']:,} unrestricted, {failed['restricted']:,} restricted. "
        f"WAN: {record['wan']}. {record['machine']['cores']} cores of {record['machine']['processor']} for both sites, "
        f"gateway and load.",
    ]


def _tables(record: Record) -> list[str | Table]:
    found, failure = record["failover"], record["failure"]
    failover = {
        "longest unrestricted request, site down, ms": "worst_ms",
        "longest unrestricted request before, ms": "worst_before_ms",
        "back at the site after it was ready, s": "failback_s",
        "down for, s": "down_s",
    }
    promises: dict[str, Cell] = {
        "": "{what}",
        "at most": figure("limit"),
        "found": figure("found"),
        " ": lambda row: KEPT[row["kept"]],
    }
    kinds = [{"kind": kind, **row} for kind, row in record["latency"].items()]
    errors: dict[str, Cell] = {name: f"{{{name}}}" for name in ("phase", "kind", "error")}
    made = [
        titled("Promises", promises, record["verdict"]["rows"]),
        titled("Latency by kind, ms", {"kind": "{kind}", "answers": "{count:,}", **TIMES}, kinds),
        titled("Errors by cause", {**errors, "count": "{count:,}", "words": "{words}"}, record["errors"]),
    ]
    if failure:
        rows = [[what, number(found[name])] for what, name in failover.items()]
        made.insert(1, Table(["", ""], rows, f"The {failure['site']} site: {failure['way']}"))
    return [table for table in made if table.rows]


def _details(record: Record) -> list[str | Table]:
    """The tables that are too long for a console."""
    groups: dict[str, Cell] = {"phase": "{phase}", "site": "{site}", "kind": "{kind}", "answers": "{count:,}"}
    where: dict[str, Cell] = {"site": "{site}", "kind": "{kind}", "part": lambda row: row["part"].replace("_", " ")}
    parts = sorted(record["where"], key=lambda row: (row["site"], row["kind"]))
    return [
        titled("By phase, site and kind, ms", {**groups, "failed": "{failed:,}", **TIMES}, record["groups"]),
        titled("Where the time went, ms", {**where, "p50": figure("p50"), "p99": figure("p99")}, parts),
    ]
