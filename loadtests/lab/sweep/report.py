"""A sweep as people look at it: a table in Markdown and a plot."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from loadtests.lab.sweep.record import base_of, gain, noise
from shelfbridge.measure.report import BLUE, ORANGE, Cell, Table, markdown

COLOURS = {"together": BLUE, "apart": ORANGE}


def table(record: Mapping[str, Any], rows: Mapping[str, Any], chosen: str) -> str:
    """Return the variants by searches/s under most load, then those that could not be served."""
    clients = record["clients"]
    fronts = [front([row["points"][at] for row in rows.values()]) for at in range(len(clients))]
    known, base = noise(rows), base_of(rows)
    told = (
        f"differ by up to {known:.0%} by chance" if np.isfinite(known) else "were measured once, which tells no noise"
    )
    about = (
        f"{record['machine']['processor']}, {record['machine']['cores']} cores; closed loops of {record['seconds']:g} "
        f"s, queries that {'repeat (Zipf)' if record['warm'] else 'do not repeat'}; medians over the rounds [least, "
        f"most]. **Bold**: on the Pareto front of searches/s and p99 for so many clients. Equal settings {told} "
        f"({count(clients[-1])}, 95 %, from the rounds)."
    )

    def load(at: int) -> Cell:
        def shown(row: Mapping[str, Any]) -> str:
            point = row["points"][at]
            spread = f" [{min(point['rates']):.0f}, {max(point['rates']):.0f}]" if at == len(clients) - 1 else ""
            text = f"{point['per_second']:.0f}{spread}, {point['p50']:.1f}, {point['p99']:.1f}"
            text += f", {point['errors']:.0f} failed" if point["errors"] else ""
            return f"**{text}**" if row["place"] in fronts[at] else text

        return shown

    def gained(row: Mapping[str, Any]) -> str:
        if base is None or row["settings"] == base["settings"]:
            return ""
        more = gain(row, base)
        beyond = max(1 + more, 1 / (1 + more)) - 1 > known
        return f"{more:+.0%}" + ("" if beyond else ", within noise" if np.isfinite(known) else ", noise not known")

    columns: dict[str, Cell] = {
        "settings": lambda row: f"{row['name']} (**chosen**)" if row["name"] == chosen else row["name"],
        **{f"{count(number)}: searches/s, p50, p99 ms": load(at) for at, number in enumerate(clients)},
        "gain over the release's own": gained,
        "server CPU ms a search": lambda row: f"{row['points'][-1]['server_cpu_ms']:.2f}",
        "resident MB": lambda row: f"{row['points'][-1]['resident_mb']:.0f}",
        "rounds": "{rounds}",
    }
    placed = [{"name": name, "place": place, **row} for place, (name, row) in enumerate(rows.items())]
    order = sorted(placed, key=lambda row: -row["points"][-1]["per_second"])
    refused = [f"- {name}: {seen['refused']}" for name, seen in record["variants"].items() if seen["refused"]]
    return markdown([about, Table.of(columns, order), *(["Not served:", "\n".join(refused)] if refused else [])])


def count(clients: int) -> str:
    """So many clients, in words."""
    return f"{clients} client{'s' * (clients > 1)}"


def front(points: Sequence[Mapping[str, float]]) -> set[int]:
    """Places of the points that no other beats in searches/s without a higher p99, or the other way round."""
    found, least = set(), float("inf")
    for at in sorted(range(len(points)), key=lambda at: (-points[at]["per_second"], points[at]["p99"])):
        if points[at]["p99"] < least:
            found.add(at)
            least = points[at]["p99"]
    return found


def draw(figure: Figure, record: Mapping[str, Any], rows: Mapping[str, Any], chosen: str) -> None:
    """p99 against searches/s, a panel a count of clients."""
    clients = record["clients"]
    panels = figure.subplots(1, len(clients), squeeze=False)[0]
    for at, (axes, number) in enumerate(zip(panels, clients, strict=True)):
        points = [row["points"][at] for row in rows.values()]
        for (name, row), point in zip(rows.items(), points, strict=True):
            mark, size = ("*", 12) if name == chosen else ("o", 6)
            axes.plot(point["per_second"], point["p99"], mark, color=COLOURS[row["settings"]["steps"]], ms=size)
        best = sorted((points[place]["per_second"], points[place]["p99"]) for place in front(points))
        axes.plot(*zip(*best, strict=True), color="#555555", lw=1, label="Pareto front")
        axes.set(title=count(number), xlabel="searches/s", ylabel="p99, ms", yscale="log")
    for way, colour in COLOURS.items():
        panels[0].plot([], [], "o", color=colour, label=f"steps {way}")
    panels[0].plot([], [], "*", color="#555555", label="chosen")
    panels[0].legend(frameon=False, fontsize=8)
