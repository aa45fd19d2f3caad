"""The costs of all sizes as a table and a plot, and how they grow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot

from loadtests import program

COSTS = {
    "build_s": "building the vectors' index, s",
    "build_mb": "memory of building, MB beyond the vectors",
    "index_mb": "index on disk, MB",
    "private_mb": "memory of each process, MB",
    "p50_ms": "vector search, p50 ms",
    "whole_p50_ms": "whole search, p50 ms",
    "whole_build_s": "building all, s",
}


def exponents(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """b of cost = a N^b, by least squares of the logarithms, of every cost that three sizes have."""
    fitted = {}
    for cost in COSTS:
        points = [(row["products"], row[cost]) for row in rows if row.get(cost, 0) > 0]
        if len(points) > 2:
            sizes, costs = np.log(np.array(points)).T
            fitted[cost] = float(np.polyfit(sizes, costs, 1)[0])
    return fitted


def table(record: dict[str, Any]) -> str:
    """Markdown: sizes, then exponents, then filters."""
    head = ["products", "real", "dim", "search", "build s", "build MB", "index MB", "of stored", "private MB"]
    head += ["recall, words", "recall, texts", "p50 ms", "p99 ms", "whole p50", "whole p99"]
    sizes = []
    for row in record["sizes"]:
        whole = (f"{row[name]:.2f}" if name in row else "" for name in ("whole_p50_ms", "whole_p99_ms"))
        cells = [
            f"{row['products']:,}",
            f"{row['real']:,}",
            f"{row['dimension']:.1f}",
            "{probes} lists, {refined} refined".format(**row["setting"]) if row["setting"] else "exact",
            f"{row['build_s']:.1f}",
            f"{row['build_mb']:.0f}",
            f"{row['index_mb']:.1f}",
            f"{(row['index_mb'] / row['stored_mb']):.2f} ({row['precision']})",
            f"{row['private_mb']:.1f}",
            f"{row['recall_words']:.4f}",
            f"{row['recall_texts']:.4f}",
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            *whole,
        ]
        sizes.append(cells)
    grown = [[COSTS[name], f"{power:.2f}"] for name, power in record["exponents"].items()]
    filters = [
        [
            f"{row['products']:,}",
            f"{one['share']:.1%}",
            one["kind"],
            f"{one['recall']:.4f}",
            f"{one['p50_ms']:.2f}",
            f"{one['p99_ms']:.2f}",
        ]
        for row in record["sizes"]
        for one in row["filters"]
    ]
    tables = (
        program.table(head, sizes),
        program.table(["cost", "exponent over products"], grown),
        program.table(["products", "filter leaves", "drawn", "recall@100", "p50 ms", "p99 ms"], filters),
    )
    return "\n\n".join("\n".join(lines) for lines in tables) + "\n"


def plot(path: Path, record: dict[str, Any]) -> None:
    """Every cost over products, both in logarithms."""
    drawing, places = pyplot.subplots(2, 2, figsize=(9, 6), layout="constrained", sharex=True)
    groups = (("build_s", "whole_build_s"), ("build_mb",), ("index_mb", "private_mb"), ("p50_ms", "whole_p50_ms"))
    for axes, group in zip(places.flat, groups, strict=True):
        for name in group:
            points = [(row["products"], row[name]) for row in record["sizes"] if row.get(name, 0) > 0]
            power = record["exponents"].get(name)
            label = COSTS[name] + (f" (N^{power:.2f})" if power is not None else "")
            axes.loglog([at for at, _ in points], [cost for _, cost in points], marker="o", label=label)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    for axes in places[1]:
        axes.set_xlabel("products")
    drawing.savefig(path, dpi=150)
    pyplot.close(drawing)
