"""The frontier of stored token vectors as people look at it: a table in Markdown and a plot beside the JSON."""

from pathlib import Path
from typing import Any

from matplotlib import ticker
from matplotlib.figure import Figure

from shelfbridge.contract import STORED_TOKENS, TOKEN_WIDTH
from shelfbridge.measure.report import Cell, Report, Table, cell

CHANGE = "{over_baseline:+.3f} [{low:+.3f}, {high:+.3f}]"
KINDS = {
    "nothing": "#333333",
    "width": "#4c78a8",
    "bits": "#f58518",
    "tokens, by position": "#54a24b",
    "tokens, by rarity": "#b279a2",
    "several": "#e45756",
}


def write_report(folder: Path, record: dict[str, Any]) -> None:
    """Write `token_frontier.json`, `.md` and `.png`."""
    Report("token_frontier", record, blocks(record), lambda figure: _draw(figure, record), (9, 5.5)).write(folder)


def blocks(record: dict[str, Any]) -> list[str | Table]:
    """Return the record as paragraphs and a table."""
    queries, budget = record["queries"], record["budget"]

    def name(row: dict[str, Any]) -> str:
        mark = "**" * (row["name"] == record["chosen"]) + "_" * (row["name"] == record["proven"])
        return str(mark + row["name"] + mark[::-1])

    columns: dict[str, Cell] = {
        "stored": name,
        "nDCG@10 dev": "{dev[mean]:.3f}",
        "difference on dev": lambda row: cell(CHANGE, row["dev"]),
        "cross-validated": "{validated[mean]:.3f}",
        "difference": lambda row: cell(CHANGE, row["validated"]),
        "tau@10": "{tau:.2f}",
        "bytes/product": "{bytes_per_product:,.0f}",
        "MB": "{megabytes:.1f}",
        "time": "{milliseconds:.2f} ms ({times_baseline:.2f})",
    }
    return [
        f"nDCG@10 of {queries['dev']} dev queries over {record['products']:,} products, and of all "
        f"{queries['validated']} judged ones by {queries['repeats']} times {queries['folds']}-fold cross-validation; "
        "differences to the first row with 95 % intervals.",
        Table.of(columns, record["variants"]),
        f"Bold, chosen: the fewest bytes that lose at most {budget}, cross-validated, and nowhere significantly. "
        f"Italic, proven: the fewest bytes whose interval excludes a loss of more than {budget}.",
    ]


def _draw(figure: Figure, record: dict[str, Any]) -> None:
    """Cross-validated nDCG@10 against bytes per product; named are the variants that no smaller one reaches."""
    rows = sorted(record["variants"], key=lambda row: (row["bytes_per_product"], -row["validated"]["mean"]))
    base = record["variants"][0]
    best = [row for place, row in enumerate(rows) if all(_mean(row) > _mean(other) for other in rows[:place])]
    marked = {record["chosen"]: "bold", record["proven"]: "bold", base["name"]: "normal"}
    named = [row for row in rows if row in best or row["name"] in marked]
    axes = figure.subplots()
    for kind, colour in KINDS.items():
        some = [row for row in rows if _kind(row["variant"]) == kind]
        line = "none" if kind == "several" else "-"
        sizes, means = [row["bytes_per_product"] for row in some], list(map(_mean, some))
        axes.plot(sizes, means, linestyle=line, linewidth=0.7, marker="o", markersize=5, color=colour, label=kind)
    for number, row in enumerate(named):
        size, change = row["bytes_per_product"], row["validated"]
        ends = [base["validated"]["mean"] + change[end] for end in ("low", "high")]
        axes.vlines(size, *ends, color="#bbbbbb", linewidth=1, zorder=0)
        note = "".join(f", {what}" for what in ("chosen", "proven") if row["name"] == record[what])
        weight = marked.get(row["name"], "normal")
        text, place = row["name"] + note, (size, _mean(row))
        beside = (3, -12 if number % 2 else 5)
        axes.annotate(text, place, beside, textcoords="offset points", fontsize=8, weight=weight)
    axes.axhline(_mean(base), color="#999999", linewidth=0.8, zorder=0)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    axes.margins(x=0.2)
    axes.set_xlabel("bytes of token vectors per product")
    axes.set_ylabel("nDCG@10, cross-validated; 95 % interval of the difference")
    axes.legend(title="what is less", loc="lower right")


def _mean(row: dict[str, Any]) -> float:
    return float(row["validated"]["mean"])


def _kind(variant: dict[str, Any]) -> str:
    """What a variant has less of than the index."""
    tokens = f"tokens, by {variant['by']}" if variant["tokens"] < STORED_TOKENS else ""
    less = ["width" * (variant["width"] < TOKEN_WIDTH), "bits" * (variant["bits"] < 8), tokens]
    return "several" if len(list(filter(None, less))) > 1 else "".join(less) or "nothing"
