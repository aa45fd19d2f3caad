"""The frontier as people look at it: a table a network in Markdown, and a plot."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from build.frontier import token_report
from shelfbridge.measure.report import BLUE, GREEN, ORANGE, Cell, Report, Table, cell, notes, reach

TITLES = {
    "encoder": "Encoder of queries",
    "ranker": "Ranker",
    "cross_encoder": "Cross-encoder",
}
COLOURS = {"fp32": BLUE, "int8": ORANGE, "fp16": GREEN}
CHANGE = "{difference:+.4f} [{low:+.3f}, {high:+.3f}]"


def write_report(folder: Path, record: dict[str, Any]) -> None:
    """Write `frontier.json`, `frontier.md` and `frontier.png`."""
    Report("frontier", record, _blocks(record), lambda figure: _draw(figure, record), (13, 4.2)).write(folder)


def _blocks(record: dict[str, Any]) -> list[str | Table]:
    blocks: list[str | Table] = [
        f"{record['dev']} dev queries, and {record['all'] - record['dev']} of train that no compression step saw "
        f"(together: panel); {record['products']:,} products. "
        "Differences of nDCG@10 are paired with the fp32 teacher [95 % interval]; τ is Kendall's with the teacher's "
        f"order of its ten first; times are of {record['cores']} cores, one request alone (p50) and all cores busy. "
        f"**Chosen**: the quickest that loses at most {record['budget']} on dev and on the panel.",
    ]
    columns: dict[str, Cell] = {
        "candidate": "{name}, {precision}",
        "dev nDCG@10": "{dev[served]:.3f}",
        "difference on dev": lambda row: cell(CHANGE, row["dev"]),
        "on the panel": lambda row: cell(CHANGE, row["all"]),
        "alone": "{alone:.3f}",
        "τ@10": "{tau:.2f}",
        "M multiply-adds": lambda row: f"{row['multiply_adds'] / 1e6:.1f}" if row["multiply_adds"] else "",
        "MB": "{megabytes:.1f}",
        "ms": "{ms:.2f}",
        "per s": "{per_second:.0f}",
        "": lambda row: f"**{marks}**" if (marks := _marks(row)) else "",
    }
    for network, title in TITLES.items():
        shown = {head: form for head, form in columns.items() if head != "alone" or network == "cross_encoder"}
        rows = [row for row in record["rows"] if row["network"] == network]
        blocks += [f"**{title}** (layers x heads x neurons)", Table.of(shown, rows)]
    blocks.append("\n".join(f"Refused: {reason}." for reason in record["refused"]))
    return [*blocks, "**Stored token vectors**", *token_report.blocks(record["tokens"])]


def _marks(row: dict[str, Any]) -> str:
    return ", ".join(name for name in ("chosen", "served") if row[name])


def summary(record: dict[str, Any]) -> str:
    """Return, of each network, the fp32 teacher, what was chosen, and what the build's preset serves."""
    shown = []
    for network, title in TITLES.items():
        teacher, *others = [row for row in record["rows"] if row["network"] == network]
        for row in (teacher, *(row for row in others if _marks(row))):
            less = teacher["multiply_adds"] / row["multiply_adds"] if row["multiply_adds"] else None
            shown.append({**row, "title": title, "is_teacher": row is teacher, "less": less})

    def change(part: str) -> Cell:
        return lambda row: "" if row["is_teacher"] else cell(CHANGE, row[part])

    columns: dict[str, Cell] = {
        "network": "{title}",
        "candidate": "{name}, {precision}",
        "dev nDCG@10": "{dev[served]:.3f}",
        "less the teacher's": change("dev"),
        "on the panel": change("all"),
        "multiply-adds": lambda row: f"1/{row['less']:.1f}" if row["less"] else "",
        "MB": "{megabytes:.1f}",
        "ms": "{ms:.2f}",
        "per s": "{per_second:.0f}",
        "": _marks,
    }
    return f"{Table.of(columns, shown)}\n"


def _draw(figure: Figure, record: dict[str, Any]) -> None:
    """Difference of nDCG@10 on all judged queries against milliseconds, a panel a network."""
    panels = figure.subplots(1, len(TITLES))
    for axes, (network, title) in zip(panels, TITLES.items(), strict=True):
        rows = [row for row in record["rows"] if row["network"] == network and row["ms"]]
        for precision, colour in COLOURS.items():
            some = [row for row in rows if row["precision"] == precision]
            if some:
                changes = [row["all"] for row in some]
                axes.errorbar(
                    [row["ms"] for row in some],
                    [change["difference"] for change in changes],
                    yerr=reach(changes, "difference"),
                    fmt="o",
                    color=colour,
                    capsize=2,
                    label=precision,
                )
        notes(
            axes,
            [(row["ms"], row["all"]["difference"]) for row in rows],
            [row["name"] + " *" * row["chosen"] for row in rows],
            size=7,
        )
        axes.axhline(-record["budget"], color="#999999", linestyle=":")
        axes.axhline(0, color="#999999", linewidth=0.8)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.15)
        axes.set_xlabel("ms, one request alone")
        axes.set_title(title)
        axes.legend(loc="lower right")
    panels[0].set_ylabel("nDCG@10 less the fp32 teacher's, on the panel")
