"""An evaluation as people look at it: a table in Markdown and a plot."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def write_report(folder: Path, record: dict[str, Any]) -> None:
    """Write `evaluation.md` and `evaluation.png` beside `evaluation.json`."""
    (folder / "evaluation.md").write_text(table(record))
    plot(folder / "evaluation.png", record)


def table(record: dict[str, Any]) -> str:
    """The record as a Markdown table."""
    lines = [
        f"{record['queries']} {record['split']} queries over {record['products']:,} products; mean [95 % interval].",
        "",
        "| stage | nDCG@10 | over BM25 (paired p) | MRR@10 | recall@100 |",
        "|---|---|---|---|---|",
    ]
    for stage, row in record["stages"].items():
        ndcg = row["nDCG@10"]
        against = "" if stage == "lexical" else f"{ndcg['over_lexical']:+.3f} ({ndcg['p']:.3f})"
        lines.append(
            f"| {stage} | {ndcg['mean']:.3f} [{ndcg['low']:.3f}, {ndcg['high']:.3f}] | {against} "
            f"| {row['MRR@10']['mean']:.3f} | {row['recall@100']['mean']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def plot(path: Path, record: dict[str, Any]) -> None:
    """nDCG@10 of each stage with its interval."""
    stages = list(record["stages"])
    figures = [record["stages"][stage]["nDCG@10"] for stage in stages]
    means = [figure["mean"] for figure in figures]
    errors = [
        [max(0.0, figure["mean"] - figure["low"]) for figure in figures],
        [max(0.0, figure["high"] - figure["mean"]) for figure in figures],
    ]
    drawing, axes = pyplot.subplots(figsize=(7, 0.5 * len(stages) + 1.2), layout="constrained")
    axes.barh(stages, means, xerr=errors, color="#4c78a8", ecolor="#555555", capsize=3)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"nDCG@10, {record['split']} ({record['queries']} queries), 95 % interval")
    for place, mean in enumerate(means):
        axes.text(0.01, place, f"{mean:.3f}", va="center", color="white")
    drawing.savefig(path, dpi=120)
    pyplot.close(drawing)
