"""The figures as plots; each draws its chapter's part of `figures.json`, and nothing else."""

from collections.abc import Callable
from io import BytesIO, StringIO
from textwrap import wrap
from typing import Any

import matplotlib
import networkx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from build.behaviour.glance import WEEKDAYS

BLUE, ORANGE, GREEN, RED, GREY = "#3d6fa5", "#e2812c", "#4a9a55", "#c44e52", "#8a8f98"
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "svg.fonttype": "none",
    "svg.hashsalt": "shelfbridge",
}


def svg(drawing: Figure) -> str:
    """The plot for a page."""
    buffer = StringIO()
    with matplotlib.rc_context(STYLE):
        drawing.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def png(drawing: Figure) -> bytes:
    """The plot for a slide."""
    buffer = BytesIO()
    drawing.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def plots(figures: dict[str, Any]) -> dict[str, Figure]:
    """Every plot of the report, by name."""
    with matplotlib.rc_context(STYLE):
        return {name: draw(figures[chapter]) for name, (chapter, draw) in PLOTS.items()}


def _weeks(glance: dict[str, Any]) -> Figure:
    drawing = Figure(figsize=(9, 4.6), layout="constrained")
    upper, lower = drawing.subplots(2, 1, sharex=True)
    rows = glance["weeks"]
    place = np.arange(len(rows))
    upper.bar(place, [row["baskets"] for row in rows], color=BLUE, alpha=0.45, label="baskets")
    upper.plot(place, [row["trend"] for row in rows], color=BLUE, linewidth=2, label="trend")
    upper.set_ylabel("baskets a week")
    upper.legend(frameon=False, loc="upper left")
    lower.plot(place, [row["revenue"] for row in rows], color=ORANGE, marker="o", markersize=3)
    lower.set_ylim(bottom=0)
    lower.set_ylabel(f"{glance['value']} a week")
    lower.yaxis.set_major_formatter("{x:,.0f}")
    _dates(lower, [row["week"] for row in rows])
    return drawing


def _dates(axes: Axes, weeks: list[str]) -> None:
    step = max(1, len(weeks) // 10)
    axes.set_xticks(range(0, len(weeks), step), weeks[::step], rotation=30, ha="right")


def _hours(glance: dict[str, Any]) -> Figure:
    drawing = Figure(figsize=(9, 2.8), layout="constrained")
    axes = drawing.subplots()
    mesh = axes.pcolormesh(np.array(glance["hours"]), cmap="Blues", edgecolors="white", linewidth=0.6)
    axes.set_yticks(np.arange(7) + 0.5, WEEKDAYS)
    axes.set_xticks(np.arange(0, 25, 2), [f"{hour}:00" for hour in range(0, 25, 2)])
    axes.invert_yaxis()
    drawing.colorbar(mesh, ax=axes, label="baskets")
    return drawing


def _segments(chapter: dict[str, Any]) -> Figure:
    drawing = Figure(figsize=(9, 3.6), layout="constrained")
    axes = drawing.subplots()
    rows = chapter["segments"]
    place = np.arange(len(rows))
    axes.barh(place - 0.2, [100 * row["share"] for row in rows], 0.38, color=GREY, label="of shoppers")
    axes.barh(place + 0.2, [100 * row["revenue_share"] for row in rows], 0.38, color=BLUE, label="of revenue")
    axes.set_yticks(place, [row["name"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("%")
    axes.legend(frameon=False)
    return drawing


def _movement(chapter: dict[str, Any]) -> Figure:
    moved = chapter["movement"]
    counts = np.array(moved["counts"])
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    drawing = Figure(figsize=(8, 4.6), layout="constrained")
    axes = drawing.subplots()
    axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=100, edgecolors="white", linewidth=0.6)
    for (row, column), share in np.ndenumerate(shares):
        if counts[row].any():
            colour = "white" if share > 55 else "#333333"
            axes.text(column + 0.5, row + 0.5, f"{share:.0f}", ha="center", va="center", color=colour)
    axes.set_xticks(np.arange(len(counts)) + 0.5, moved["names"], rotation=30, ha="right")
    axes.set_yticks(np.arange(len(counts)) + 0.5, moved["names"])
    axes.invert_yaxis()
    axes.set_xlabel("second half, % of the row")
    axes.set_ylabel("first half")
    return drawing


def _repeats(chapter: dict[str, Any]) -> Figure:
    drawing = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = drawing.subplots(1, 2)
    months = [row["month"] for row in chapter["months"]]
    left.bar(range(len(months)), [100 * row["share"] for row in chapter["months"]], color=BLUE, alpha=0.7)
    left.set_xticks(range(len(months)), months, rotation=60, ha="right")
    left.set_ylabel("repeat lines, %")
    for row, colour in zip(chapter["classes"], (GREEN, BLUE, ORANGE), strict=True):
        curve = row["curve"]
        right.step(
            curve["days"][: len(curve["share"])],
            [100 * share for share in curve["share"]],
            color=colour,
            where="post",
            label=row["name"],
        )
    right.set_xlabel("days after buying a product")
    right.set_ylabel("bought it again, %")
    right.set_ylim(bottom=0)
    right.legend(frameon=False)
    return drawing


def _groups(chapter: dict[str, Any]) -> Figure:
    drawing = Figure(figsize=(9.5, 8.5), layout="constrained")
    panels = list(drawing.subplots(3, 3).flat)
    for axes in panels:
        axes.set_axis_off()
    if not chapter["groups"]:
        panels[4].text(0.5, 0.5, "no group of three products", ha="center")
    for number, (axes, group) in enumerate(zip(panels, chapter["groups"], strict=False)):
        graph = networkx.Graph()
        graph.add_nodes_from(range(len(group["items"])))
        graph.add_weighted_edges_from((left, right, float(np.log(lift))) for left, right, lift in group["links"])
        place = networkx.circular_layout(graph)
        widths = [0.4 + 0.5 * weight for _, _, weight in graph.edges(data="weight")]
        networkx.draw_networkx_edges(graph, place, ax=axes, width=widths, edge_color="#c3c8cf")
        networkx.draw_networkx_nodes(graph, place, ax=axes, node_size=60, node_color=[f"C{number}"])
        for at, (x, y) in place.items():
            name = "\n".join(wrap(group["items"][at]["title"], 16)[:3])
            side = "left" if x > 0.3 else "right" if x < -0.3 else "center"
            axes.annotate(name, (1.12 * x, 1.2 * y), ha=side, va="center", fontsize=6)
        axes.set_xlim(-2.2, 2.2)
        axes.set_ylim(-1.6, 1.6)
    return drawing


def _short(title: str) -> str:
    return title if len(title) < 28 else title[:26] + "…"


def _trends(chapter: dict[str, Any]) -> Figure:
    drawing = Figure(figsize=(9, 6.2), layout="constrained")
    panels = drawing.subplots(4, 3, sharex=True)
    lists = (("rising", GREEN), ("falling", RED))
    for half, (name, colour) in enumerate(lists):
        for at, axes in enumerate(panels[2 * half : 2 * half + 2].flat):
            rows = chapter[name]["items"]
            if at >= len(rows):
                axes.set_axis_off()
                continue
            values = rows[at]["per_thousand"]
            axes.fill_between(range(len(values)), values, color=colour, alpha=0.15)
            axes.plot(values, color=colour, linewidth=1.2)
            axes.set_title(_short(rows[at]["title"]), fontsize=7.5, loc="left")
            axes.set_ylim(bottom=0)
            step = max(1, len(values) - 1)
            axes.set_xticks(range(0, len(values), step), [week[2:] for week in chapter["weeks"][::step]], fontsize=7)
    drawing.supylabel("baskets with it, of 1,000", fontsize=9)
    return drawing


def _calibration(chapter: dict[str, Any]) -> Figure:
    drawing = Figure(figsize=(9, 3.9), layout="constrained")
    left, right = drawing.subplots(1, 2)
    curve = chapter["curve"]
    seen = np.array([row["seen"] for row in curve])
    reach = [seen - [row["low"] for row in curve], [row["high"] for row in curve] - seen]
    left.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="as foretold")
    left.errorbar([row["foretold"] for row in curve], seen, yerr=reach, fmt="o-", color=BLUE, capsize=2, label="seen")
    left.set_xlabel("foretold probability, a tenth of the shoppers each")
    left.set_ylabel("share that came")
    left.legend(frameon=False)
    rows = [row for row in chapter["rows"] if row["chosen"] or row["calibration"] in ("", "none")]
    names = [f"{row['model']}, {row['calibration']}" if row["chosen"] else row["model"] for row in rows]
    colours = [BLUE if row["chosen"] else GREY for row in rows]
    right.barh(names, [row["log_loss"] for row in rows], color=colours)
    right.invert_yaxis()
    right.set_xlabel("log loss on the test cut (less is better)")
    return drawing


PLOTS: dict[str, tuple[str, Callable[[dict[str, Any]], Figure]]] = {
    "weeks": ("glance", _weeks),
    "hours": ("glance", _hours),
    "segments": ("segments", _segments),
    "movement": ("segments", _movement),
    "repeats": ("repeats", _repeats),
    "groups": ("together", _groups),
    "trends": ("trends", _trends),
    "calibration": ("propensity", _calibration),
}
"""Chapter and drawing of each plot."""
