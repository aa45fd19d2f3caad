"""The report of shelves beside searches."""

from typing import Any

from matplotlib.figure import Figure

from shelfbridge.measure.report import Table


def text(record: dict[str, Any]) -> str:
    """Markdown."""
    clients = list(dict.fromkeys(point["clients"] for point in record["points"]))
    by = {(point["kind"], point["clients"]): point for point in record["points"]}
    head = ["", *(f"{name}, {number}" for name in ("p50 ms", "p99 ms", "per s", "CPU ms") for number in clients)]
    rows = [
        [kind, *(f"{by[kind, number][name]:.3g}" for name in ("p50", "p99", "per_s", "cpu") for number in clients)]
        for kind in record["kinds"]
    ]
    failed = sum(point["errors"] for point in record["points"])
    effect = record["effect"]
    lines = [
        f"{record['products']:,} products, {record['shoppers']:,} shoppers with {record['events']:,} events in "
        f"{record['settings']['profiles']}; {record['machine']['cores']} cores of {record['machine']['processor']}. "
        f"{sum(point['answers'] for point in record['points']):,} answers, {failed:,} failed.",
        "",
        str(Table(head, rows)),
        "",
        f"An event shows after {effect['from_call']['p50']:.1f} ms (p99 {effect['from_call']['p99']:.1f}, slowest "
        f"{effect['slowest']:.1f}) from the call that sends it, {effect['from_acknowledged']['p50']:.1f} ms from its "
        f"acknowledgement: {effect['strangers']} strangers, {effect['new_products']:.1f} of 10 products are others.",
    ]
    return "\n".join(lines) + "\n"


def draw(figure: Figure, record: dict[str, Any]) -> None:
    """p50 and p99 by kind, one part for each number of clients."""
    clients = list(dict.fromkeys(point["clients"] for point in record["points"]))
    parts = figure.subplots(1, len(clients), squeeze=False)
    for part, number in zip(parts[0], clients, strict=True):
        points = [point for point in record["points"] if point["clients"] == number]
        names = [point["kind"] for point in points]
        part.barh(names, [point["p99"] for point in points], color="#c6dbef", label="p99")
        part.barh(names, [point["p50"] for point in points], color="#3182bd", label="p50")
        part.invert_yaxis()
        part.set_title(f"{number} client{'s' if number > 1 else ''}")
        part.set_xlabel("milliseconds")
        part.legend(frameon=False)
