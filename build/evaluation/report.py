"""An evaluation as people look at it: a table in Markdown and a plot."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from shelfbridge.measure.report import MEAN, Cell, Report, Table, bars, cell


def write_report(folder: Path, record: dict[str, Any]) -> None:
    """Write `evaluation.json`, `.md` and `.png`."""
    size = (7, 0.5 * len(record["stages"]) + 1.2)
    Report("evaluation", record, _blocks(record), lambda figure: _draw(figure, record), size).write(folder)


def table(record: dict[str, Any]) -> str:
    """Return the record as Markdown."""
    return Report("evaluation", record, _blocks(record)).markdown


def _blocks(record: dict[str, Any]) -> list[str | Table]:
    columns: dict[str, Cell] = {
        "stage": "{stage}",
        "nDCG@10": lambda row: cell(MEAN, row["nDCG@10"]),
        "over BM25 (paired p)": _over_lexical,
        "over the stage before": _over_before,
        "MRR@10": "{MRR@10[mean]:.3f}",
        "recall@100": "{recall@100[mean]:.3f}",
    }
    about = f"{record['queries']} {record['split']} queries over {record['products']:,} products; mean [95 % interval]."
    return [about, Table.of(columns, [{"stage": stage, **row} for stage, row in record["stages"].items()])]


def _over_lexical(row: dict[str, Any]) -> str:
    if row["stage"] == "lexical":
        return ""
    figure = row["nDCG@10"]
    interval = "[{over_low:+.3f}, {over_high:+.3f}] " if "over_low" in figure else ""
    return cell("{over_lexical:+.3f} " + interval + "({p:.3f})", figure)


def _over_before(row: dict[str, Any]) -> str:
    found = row["nDCG@10"].get("over_before")
    return cell("{value:+.3f} [{low:+.3f}, {high:+.3f}]", found) if found else ""


def _draw(figure: Figure, record: dict[str, Any]) -> None:
    """nDCG@10 of each stage with its interval."""
    axes = figure.subplots()
    bars(axes, list(record["stages"]), [row["nDCG@10"] for row in record["stages"].values()])
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"nDCG@10, {record['split']} ({record['queries']} queries), 95 % interval")
