"""A sweep as people look at it: a table in Markdown and a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from loadtests import program

COLOURS = {"together": "#4c78a8", "apart": "#f58518"}


def table(record: Mapping[str, Any], rows: Mapping[str, Any], chosen: str) -> str:
    """Variants by searches/s under most load, then those that could not be served."""
    clients, most = record["clients"], record["clients"][-1]
    fronts = [front([row["points"][at] for row in rows.values()]) for at in range(len(clients))]
    about = (
        f"{record['machine']['processor']}, {record['machine']['cores']} cores; closed loops of {record['seconds']:g} "
        f"s, queries that {'repeat (Zipf)' if record['warm'] else 'do not repeat'}; medians over the rounds [least, "
        "most]. **Bold**: on the Pareto front of searches/s and p99 for so many clients."
    )
    head = ["settings", *(f"{count(n)}: searches/s, p50, p99 ms" for n in clients)]
    head += ["server CPU ms a search", "resident MB", "rounds"]
    lines = []
    order = sorted(rows, key=lambda name: -rows[name]["points"][-1]["per_second"])
    places = {name: at for at, name in enumerate(rows)}
    for name in order:
        row = rows[name]
        last = row["points"][-1]
        cells = []
        for at, point in enumerate(row["points"]):
            spread = f" [{point['least']:.0f}, {point['most']:.0f}]" if point["clients"] == most else ""
            cell = f"{point['per_second']:.0f}{spread}, {point['p50']:.1f}, {point['p99']:.1f}"
            if point["errors"]:
                cell += f", {point['errors']:.0f} failed"
            cells.append(f"**{cell}**" if places[name] in fronts[at] else cell)
        label = f"{name} (**chosen**)" if name == chosen else name
        lines.append([label, *cells, f"{last['server_cpu_ms']:.2f}", f"{last['resident_mb']:.0f}", str(row["rounds"])])
    refused = [f"- {name}: {seen['refused']}" for name, seen in record["variants"].items() if seen["refused"]]
    unserved = ["Not served:", "", *refused, ""] if refused else []
    return "\n".join([about, "", *program.table(head, lines), "", *unserved])


def count(clients: int) -> str:
    """So many clients, in words."""
    return f"{clients} client{'s' * (clients > 1)}"


def front(points: Sequence[Mapping[str, float]]) -> set[int]:
    """Places of the points that no other beats in searches/s without a higher p99, or the other way round."""
    return {
        at
        for at, one in enumerate(points)
        if not any(
            other["per_second"] >= one["per_second"]
            and other["p99"] <= one["p99"]
            and (other["per_second"], other["p99"]) != (one["per_second"], one["p99"])
            for other in points
        )
    }


def plot(path: Path, record: Mapping[str, Any], rows: Mapping[str, Any], chosen: str) -> None:
    """p99 against searches/s, a panel a count of clients."""
    clients = record["clients"]
    drawing, panels = pyplot.subplots(1, len(clients), figsize=(5 * len(clients), 4.2), layout="constrained")
    for at, (axes, number) in enumerate(zip(panels, clients, strict=True)):
        points = [row["points"][at] for row in rows.values()]
        for (name, row), point in zip(rows.items(), points, strict=True):
            colour = COLOURS[row["settings"]["steps"]]
            axes.plot(
                point["per_second"],
                point["p99"],
                "*" if name == chosen else "o",
                color=colour,
                ms=6 + 6 * (name == chosen),
            )
        best = sorted((points[place] for place in front(points)), key=lambda point: point["per_second"])
        axes.plot(
            [p["per_second"] for p in best], [p["p99"] for p in best], color="#555555", lw=1, label="Pareto front"
        )
        axes.set_title(count(number))
        axes.set_xlabel("searches/s")
        axes.set_ylabel("p99, ms")
        axes.set_yscale("log")
    for way, colour in COLOURS.items():
        panels[0].plot([], [], "o", color=colour, label=f"steps {way}")
    panels[0].plot([], [], "*", color="#555555", label="chosen")
    panels[0].legend(frameon=False, fontsize=8)
    drawing.savefig(path, dpi=120)
    pyplot.close(drawing)
