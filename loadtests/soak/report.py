"""A soak as people look at it: its verdict in Markdown, and a plot."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from loadtests.soak.verdict import SETTLING
from shelfbridge.measure.report import Cell, Table, markdown

COUNTS = ("descriptors", "threads", "shared_memory")
TREND = "{slope:+.2f} [{low:+.2f}, {high:+.2f}]"


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    verdict, looks = record["verdict"], record["looks"]
    first, last = looks[int(SETTLING * len(looks))], looks[-1]
    seconds = last["seconds"] - looks[0]["seconds"]
    rate = (last["searches"] - looks[0]["searches"]) / seconds if seconds else 0.0
    pss = verdict["pss"]
    about = (
        f"**{'Flat' if verdict['flat'] else 'Not flat'}** over {record['searches']:,} searches "
        f"({'search_deep' if record['deep'] else 'search'}, {record['clients']} at a time, {rate:.0f} a second); "
        f"limit {record['limit_mb']:g} MB for 100,000 searches. PSS grew by "
        f"{pss['slope']:+.1f} MB for 100,000 searches [{pss['low']:+.1f}, {pss['high']:+.1f}]."
    )
    complaints = [f"- {complaint}" for complaint in verdict["complaints"]]
    memory: dict[str, Cell] = {
        "private dirty memory": "{part}",
        "MB, settled": "{settled:.1f}",
        "MB, at the end": "{end:.1f}",
        "MB for 100,000 searches [95 % interval]": TREND,
    }
    rows = [
        {"part": part, "settled": _megabytes(first, part), "end": _megabytes(last, part), **trend}
        for part, trend in {"all": verdict["private"], **verdict["by_part"]}.items()
    ]
    counts: dict[str, Cell] = {"": "{name}", "settled": "{settled:,}", "at the end": "{end:,}"}
    counted = [{"name": name.replace("_", " "), "settled": first[name], "end": last[name]} for name in COUNTS]
    return markdown(["\n".join([about, *complaints]), Table.of(memory, rows), Table.of(counts, counted)])


def _megabytes(look: dict[str, Any], part: str) -> float:
    held = look["private_dirty"]
    return float(sum(held.values()) if part == "all" else held.get(part, 0)) / 1e6


def draw(figure: Figure, record: dict[str, Any]) -> None:
    """How memory changed since it settled, by part; and descriptors, threads and shared memory."""
    looks = record["looks"]
    searches = [look["searches"] for look in looks]
    settled = looks[int(SETTLING * len(looks))]
    (memory, counts) = figure.subplots(1, 2)
    for part in ["all", *record["verdict"]["by_part"]]:
        changes = [_megabytes(look, part) - _megabytes(settled, part) for look in looks]
        style = {"color": "black", "lw": 2} if part == "all" else {"lw": 1}
        memory.plot(searches, changes, label=f"{part} ({_megabytes(settled, part):.0f} MB)", **style)
    memory.axvline(settled["searches"], color="#555555", lw=1, ls="--", label="settled")
    memory.set_ylabel("private dirty memory since then, MB")
    memory.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    for name in COUNTS:
        values = np.array([look[name] for look in looks], float)
        counts.plot(searches, values / max(values[-1], 1), label=f"{name.replace('_', ' ')} (end: {values[-1]:,.0f})")
    counts.set_ylabel("relative to the end")
    counts.set_ylim(0, None)
    counts.legend(frameon=False, fontsize=8)
    for axes in (memory, counts):
        axes.set_xlabel("searches")
