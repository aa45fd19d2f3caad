"""A run as people look at it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from loadtests.hybrid.measured import TAIL
from loadtests.hybrid.scenarios import WARM_UP_S

Record = Mapping[str, Any]
PRIVATE, PUBLIC, BAD, P50, P99 = "#3182bd", "#fd8d3c", "#d62728", "#756bb1", "#31a354"
TICKS = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99)


def draw(figure: Figure, record: Record) -> None:
    """Requests, latency and failures while time goes by; percentiles by site; where the time went."""
    parts = figure.subplots(2, 2)
    figure.suptitle(record["name"])
    rate(parts[0][0], record)
    latency(parts[1][0], record)
    percentiles(parts[0][1], {site: tail for site, tail in record["tail"].items() if site != "all"})
    where(parts[1][1], record)


def rate(axes: Axes, record: Record) -> None:
    """Requests of each second by where they were answered, and those that failed."""
    seconds = pd.DataFrame(record["timeline"])
    failed = seconds.failed_unrestricted + seconds.failed_restricted
    private = seconds.requests - seconds.public - failed
    axes.stackplot(
        seconds.second,
        private,
        seconds.public,
        failed,
        colors=(PRIVATE, PUBLIC, BAD),
        labels=("private", "public", "failed"),
        alpha=0.8,
    )
    axes.set_ylabel("requests a second")
    mark(axes, record)
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def latency(axes: Axes, record: Record) -> None:
    """p50 and p99 of each second."""
    seconds = pd.DataFrame(record["timeline"]).dropna(subset="p50")
    for name, colour in (("p50", P50), ("p99", P99)):
        axes.plot(seconds.second, seconds[name], color=colour, label=name)
    for row in record["verdict"]["rows"]:
        if row["what"].startswith("p99 of all"):
            axes.axhline(row["limit"], color="#555555", ls=":", lw=1, label=f"promised: {row['limit']:g} ms")
    axes.set_yscale("log")
    axes.set_ylabel("milliseconds")
    axes.set_xlabel("seconds")
    mark(axes, record)
    axes.legend(frameon=False, fontsize=8)


def mark(axes: Axes, record: Record) -> None:
    """The warm-up, and the time for which a site was down."""
    axes.axvspan(0, WARM_UP_S, color="#eeeeee", zorder=-2)
    if record["failure"]:
        down = (record["failure"][name] - record["start"] for name in ("begun", "ready"))
        axes.axvspan(*down, color="#fcd5ce", zorder=-1)


def percentiles(axes: Axes, tails: Mapping[str, Record]) -> None:
    """Latency over the share of requests, far into the tail; nothing where none was answered."""
    for name, tail in tails.items():
        if tail["count"]:
            axes.plot(_nines(TAIL), tail["ms"], label=f"{name} ({tail['count']:,})")
    if axes.lines:
        axes.set_xticks(_nines(TICKS), [f"{percentile:g} %" for percentile in TICKS])
        axes.set_yscale("log")
        axes.set_ylabel("milliseconds")
        axes.set_xlabel("of the answers took no longer")
        axes.legend(frameon=False, fontsize=8)


def _nines(percentile: Sequence[float]) -> NDArray[np.float64]:
    nines: NDArray[np.float64] = -np.log10(1 - np.asarray(percentile) / 100 * (1 - 1e-9))
    return nines


def where(axes: Axes, record: Record) -> None:
    """Medians of the parts of a request, by kind and site; nothing where none was answered."""
    if not record["where"]:
        return
    rows = pd.DataFrame(record["where"])
    parts = rows.pivot(index=["kind", "site"], columns="part", values="p50")[rows.part.unique()]
    parts.index = [f"{kind}\n{site}" for kind, site in parts.index]
    parts = parts[::-1].fillna(0.0)
    ends = parts.cumsum(axis="columns")
    for place, part in enumerate(parts):
        colour = colormaps["tab20"](place % 20)
        axes.barh(parts.index, parts[part], left=ends[part] - parts[part], color=colour, label=part)
    axes.set_xlabel("milliseconds at the median")
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.tick_params(axis="y", labelsize=8)
