"""What the gateway adds, as people look at it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from loadtests.gateway.turns import Times
from loadtests.gateway.ways import DIRECT, GATEWAY, WAYS
from shelfbridge.measure.intervals import Interval
from shelfbridge.measure.report import Cell, Table, markdown

DRAWN = np.concatenate([np.arange(1, 99), np.arange(99, 99.95, 0.1)])
"""Percentiles of the curves."""


def text(record: Mapping[str, Any]) -> str:
    """Return the record as Markdown."""
    machine, added = record["machine"], record["ways"][GATEWAY]["added"]

    def more(percentile: str) -> Cell:
        return lambda way: f"{Interval(**way['added'][percentile]):+.2f}" if "added" in way else ""

    columns: dict[str, Cell] = {
        "way": lambda way: f"{way['name']}: {WAYS[way['name']]}",
        "p50, ms": "{p50:.2f}",
        "p99, ms": "{p99:.2f}",
        f"p50 more than {DIRECT}": more("p50"),
        f"p99 more than {DIRECT}": more("p99"),
    }
    return markdown(
        [
            f"The gateway adds **{added['p50']['value']:+.2f} ms** at p50 and **{added['p99']['value']:+.2f} ms** at "
            f"p99 to a search that one caller sends alone ({machine['processor']}, {machine['cores']} cores; "
            f"{record['queries']:,} queries, each by every way in turn; 95 % intervals of a paired block bootstrap).",
            Table.of(columns, [{"name": name, **way} for name, way in record["ways"].items()]),
        ]
    )


def draw(figure: Figure, times: Mapping[str, Times]) -> None:
    """Latency of each way by percentile, and what it is above the direct one's."""
    (whole, more) = figure.subplots(1, 2)
    base = np.percentile(times[DIRECT], DRAWN)
    for name, values in times.items():
        found = np.percentile(values, DRAWN)
        whole.plot(DRAWN / 100, found, label=name)
        more.plot(DRAWN / 100, found - base, label=name)
    for axes, label in ((whole, "ms"), (more, f"ms more than {DIRECT}")):
        axes.set_xscale("logit")
        axes.set_xticks([0.01, 0.1, 0.5, 0.9, 0.99, 0.999], ["1 %", "10 %", "50 %", "90 %", "99 %", "99.9 %"])
        axes.minorticks_off()
        axes.set_xlabel("of searches")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    whole.set_yscale("log")
    whole.legend(frameon=False)
