"""A run as people look at it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.hybrid.latencies import decode, joined
from loadtests.hybrid.scenarios import WARM_UP_S

Record = Mapping[str, Any]
PRIVATE, PUBLIC, BAD, P50, P99 = "#3182bd", "#fd8d3c", "#d62728", "#756bb1", "#31a354"
PART_COLOURS = [colormaps["tab20"](place) for place in range(20)]
TAIL = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99)


def draw(figure: Figure, record: Record) -> None:
    """Requests, latency and failures while time goes by; percentiles by site; where the time went."""
    parts = figure.subplots(2, 2)
    figure.suptitle(record["name"])
    rate(parts[0][0], record)
    latency(parts[1][0], record)
    percentiles(parts[0][1], {site: group for site, group in by_site(record).items() if group.total_count})
    where(parts[1][1], record)


def rate(axes: Axes, record: Record) -> None:
    """Requests of each second by where they were answered, and those that failed."""
    seconds = [row["second"] for row in record["timeline"]]
    public = np.array([row["public"] for row in record["timeline"]])
    requests = np.array([row["requests"] for row in record["timeline"]])
    failed = np.array([row["failed_unrestricted"] + row["failed_restricted"] for row in record["timeline"]])
    private = requests - public - failed
    axes.stackplot(
        seconds,
        private,
        public,
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
    rows = [row for row in record["timeline"] if row["p50"] is not None]
    for name, colour in (("p50", P50), ("p99", P99)):
        axes.plot([row["second"] for row in rows], [row[name] for row in rows], color=colour, label=name)
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


def by_site(record: Record) -> dict[str, Any]:
    """Histograms of all kinds and phases by site."""
    sites = dict.fromkeys(group["site"] for group in record["groups"])
    return {
        site: joined(decode(g["histogram"]) for g in record["groups"] if g["site"] == site and "histogram" in g)
        for site in sites
    }


def percentiles(axes: Axes, histograms: Mapping[str, Any]) -> None:
    """Latency over the share of requests, far into the tail; nothing where none was answered."""
    if not histograms:
        return
    for name, histogram in histograms.items():
        tail = np.array([*np.linspace(0, 99, 199), *np.linspace(99, 99.99, 100)])
        values = [histogram.get_value_at_percentile(percentile) / 1000 for percentile in tail]
        axes.plot(_nines(tail), values, label=f"{name} ({histogram.total_count:,})")
    axes.set_xticks(_nines(TAIL), [f"{percentile:g} %" for percentile in TAIL])
    axes.set_yscale("log")
    axes.set_ylabel("milliseconds")
    axes.set_xlabel("of the answers took no longer")
    axes.legend(frameon=False, fontsize=8)


def _nines(percentile: Sequence[float] | Any) -> Any:
    return -np.log10(1 - np.asarray(percentile) / 100 * (1 - 1e-9))


def where(axes: Axes, record: Record) -> None:
    """Medians of the parts of a request, by kind and site; nothing where none was answered."""
    rows = record["where"]
    if not rows:
        return
    bars = sorted({(row["kind"], row["site"]) for row in rows}, reverse=True)
    parts = list(dict.fromkeys(row["part"] for row in rows))
    left = np.zeros(len(bars))
    found = {(row["kind"], row["site"], row["part"]): row["p50"] for row in rows}
    for place, part in enumerate(parts):
        widths = np.array([found.get((*bar, part), 0.0) for bar in bars])
        colour = PART_COLOURS[place % len(PART_COLOURS)]
        axes.barh([f"{kind}\n{site}" for kind, site in bars], widths, left=left, color=colour, label=part)
        left += widths
    axes.set_xlabel("milliseconds at the median")
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.tick_params(axis="y", labelsize=8)
