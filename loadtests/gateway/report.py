"""What the gateway adds, as people look at it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from loadtests.gateway.turns import Times
from loadtests.gateway.ways import DIRECT, GATEWAY, WAYS
from loadtests.program import table
from shelfbridge.measure.intervals import Interval

matplotlib.use("Agg")
from matplotlib import pyplot

DRAWN = np.concatenate([np.arange(1, 99), np.arange(99, 99.95, 0.1)])
"""Percentiles of the curves."""


def text(record: Mapping[str, Any]) -> str:
    """Markdown."""
    machine, added = record["machine"], record["ways"][GATEWAY]["added"]
    rows = [
        [
            f"{name}: {WAYS[name]}",
            *(f"{way[percentile]:.2f}" for percentile in ("p50", "p99")),
            *(
                f"{Interval(**way['added'][percentile]):+.2f}" if "added" in way else ""
                for percentile in ("p50", "p99")
            ),
        ]
        for name, way in record["ways"].items()
    ]
    lines = [
        f"The gateway adds **{added['p50']['value']:+.2f} ms** at p50 and **{added['p99']['value']:+.2f} ms** at p99 "
        f"to a search that one caller sends alone ({machine['processor']}, {machine['cores']} cores; "
        f"{record['queries']:,} queries, each by every way in turn; 95 % intervals of a paired block bootstrap).",
        "",
        *table(["way", "p50, ms", "p99, ms", f"p50 more than {DIRECT}", f"p99 more than {DIRECT}"], rows),
        "",
    ]
    return "\n".join(lines)


def draw(file: Path, times: Mapping[str, Times]) -> None:
    """Latency of each way by percentile, and what it is above the direct one's."""
    figure, (whole, more) = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
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
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
