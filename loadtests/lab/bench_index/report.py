"""The costs of all sizes as a table and a plot, and how they grow."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from shelfbridge.measure.report import Cell, Table, cell, markdown

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
    """Return the record as Markdown: sizes, then exponents, then filters."""
    sizes: dict[str, Cell] = {
        "products": "{products:,}",
        "real": "{real:,}",
        "dim": "{dimension:.1f}",
        "search": lambda row: cell("{probes} lists, {refined} refined", row["setting"]) if row["setting"] else "exact",
        "build s": "{build_s:.1f}",
        "build MB": "{build_mb:.0f}",
        "index MB": "{index_mb:.1f}",
        "of stored": lambda row: f"{row['index_mb'] / row['stored_mb']:.2f} ({row['precision']})",
        "private MB": "{private_mb:.1f}",
        "recall, words": "{recall_words:.4f}",
        "recall, texts": "{recall_texts:.4f}",
        "p50 ms": "{p50_ms:.2f}",
        "p99 ms": "{p99_ms:.2f}",
        "whole p50": "{whole_p50_ms:.2f}",
        "whole p99": "{whole_p99_ms:.2f}",
    }
    filters: dict[str, Cell] = {
        "products": "{products:,}",
        "filter leaves": "{share:.1%}",
        "drawn": "{kind}",
        "recall@100": "{recall:.4f}",
        "p50 ms": "{p50_ms:.2f}",
        "p99 ms": "{p99_ms:.2f}",
    }
    unmeasured = {"whole_p50_ms": None, "whole_p99_ms": None}
    grown = [(COSTS[name], power) for name, power in record["exponents"].items()]
    return markdown(
        [
            Table.of(sizes, [unmeasured | row for row in record["sizes"]]),
            Table(["cost", "exponent over products"], [[name, f"{power:.2f}"] for name, power in grown]),
            Table.of(filters, [{**row, **one} for row in record["sizes"] for one in row["filters"]]),
        ]
    )


def draw(figure: Figure, record: dict[str, Any]) -> None:
    """Every cost over products, both in logarithms."""
    places = figure.subplots(2, 2, sharex=True)
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
