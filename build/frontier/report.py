"""The frontier as people look at it: a table a network in Markdown, and a plot."""

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import LogLocator, NullFormatter

from build.frontier import token_report

TITLES = {
    "encoder": "Encoder of queries",
    "ranker": "Ranker",
    "cross_encoder": "Cross-encoder",
}
COLOURS = {"fp32": "#4c78a8", "int8": "#f58518", "fp16": "#54a24b"}


def write_report(folder: Path, record: dict[str, Any]) -> None:
    """Write `frontier.json`, `frontier.md` and `frontier.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "frontier.json").write_text(json.dumps(record, indent=2) + "\n")
    (folder / "frontier.md").write_text(table(record))
    plot(folder / "frontier.png", record)


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    budget = record["budget"]
    lines = [
        f"{record['dev']} dev queries, and {record['all'] - record['dev']} of train that no compression step saw "
        f"(together: panel); {record['products']:,} products. "
        "Differences of nDCG@10 are paired with the fp32 teacher [95 % interval]; τ is Kendall's with the teacher's "
        f"order of its ten first; times are of {record['cores']} cores, one request alone (p50) and all cores busy. "
        f"**Chosen**: the quickest that loses at most {budget} on dev and on the panel.",
    ]
    for network, title in TITLES.items():
        rows = [row for row in record["rows"] if row["network"] == network]
        deep = network == "cross_encoder"
        lines += [
            "",
            f"**{title}** (layers x heads x neurons)",
            "",
            "| candidate | dev nDCG@10 | difference on dev | on the panel | "
            + ("alone | " if deep else "")
            + "τ@10 | M multiply-adds | MB | ms | per s | |",
            "|---|---|---|---|---|---|---|---|---|---|" + ("---|" if deep else ""),
            *[_line(row, deep) for row in rows],
        ]
    lines += ["", *(f"Refused: {reason}." for reason in record["refused"])] if record["refused"] else []
    return "\n".join([*lines, "", "**Stored token vectors**", "", token_report.table(record["tokens"])])


def _line(row: dict[str, Any], deep: bool) -> str:
    marks = [name for name in ("chosen", "served") if row[name]]
    cells = [
        f"{row['name']}, {row['precision']}",
        f"{row['dev']['served']:.3f}",
        *[
            f"{row[part]['difference']:+.4f} [{row[part]['low']:+.3f}, {row[part]['high']:+.3f}]"
            for part in ("dev", "all")
        ],
        *([f"{row['alone']:.3f}"] if deep else []),
        f"{row['tau']:.2f}",
        f"{row['multiply_adds'] / 1e6:.1f}" if row["multiply_adds"] else "",
        f"{row['megabytes']:.1f}",
        f"{row['ms']:.2f}" if row["ms"] else "",
        f"{row['per_second']:.0f}" if row["per_second"] else "",
        f"**{', '.join(marks)}**" if marks else "",
    ]
    return f"| {' | '.join(cells)} |"


def summary(record: dict[str, Any]) -> str:
    """Of each network the fp32 teacher, what was chosen, and what the build's preset serves."""
    lines = [
        "| network | candidate | dev nDCG@10 | less the teacher's | on the panel | multiply-adds | MB | ms | per s | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for network, title in TITLES.items():
        rows = [row for row in record["rows"] if row["network"] == network]
        lines += [_brief(title, row, rows[0]) for row in rows if row is rows[0] or row["chosen"] or row["served"]]
    return "\n".join(lines) + "\n"


def _brief(title: str, row: dict[str, Any], teacher: dict[str, Any]) -> str:
    cells = [
        title,
        f"{row['name']}, {row['precision']}",
        f"{row['dev']['served']:.3f}",
        *["" if row is teacher else _change(row[part]) for part in ("dev", "all")],
        f"1/{teacher['multiply_adds'] / row['multiply_adds']:.1f}" if row["multiply_adds"] else "",
        f"{row['megabytes']:.1f}",
        f"{row['ms']:.2f}" if row["ms"] else "",
        f"{row['per_second']:.0f}" if row["per_second"] else "",
        ", ".join(name for name in ("chosen", "served") if row[name]),
    ]
    return f"| {' | '.join(cells)} |"


def _change(figure: dict[str, float]) -> str:
    return f"{figure['difference']:+.4f} [{figure['low']:+.3f}, {figure['high']:+.3f}]"


def plot(path: Path, record: dict[str, Any]) -> None:
    """Difference of nDCG@10 on all judged queries against milliseconds, a panel a network."""
    drawing, panels = pyplot.subplots(1, len(TITLES), figsize=(13, 4.2), layout="constrained")
    for axes, (network, title) in zip(panels, TITLES.items(), strict=True):
        rows = [row for row in record["rows"] if row["network"] == network and row["ms"]]
        for precision, colour in COLOURS.items():
            some = [row for row in rows if row["precision"] == precision]
            if not some:
                continue
            means = [row["all"]["difference"] for row in some]
            errors = [
                [max(0.0, row["all"]["difference"] - row["all"]["low"]) for row in some],
                [max(0.0, row["all"]["high"] - row["all"]["difference"]) for row in some],
            ]
            axes.errorbar(
                [row["ms"] for row in some], means, yerr=errors, fmt="o", color=colour, capsize=2, label=precision
            )
        for row in rows:
            axes.annotate(
                row["name"] + (" *" if row["chosen"] else ""),
                (row["ms"], row["all"]["difference"]),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize=7,
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
    drawing.savefig(path, dpi=110)
    pyplot.close(drawing)
