"""A soak as people look at it: its verdict in Markdown, and a plot."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from loadtests.soak.verdict import SETTLING
from shelfbridge.measure.report import Table


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    verdict, looks = record["verdict"], record["looks"]
    first, last = looks[int(SETTLING * len(looks))], looks[-1]
    seconds = last["seconds"] - looks[0]["seconds"]
    rate = (last["searches"] - looks[0]["searches"]) / seconds if seconds else 0.0
    rows = [("all", verdict["private"]), *verdict["by_part"].items()]
    lines = [
        f"**{'Flat' if verdict['flat'] else 'Not flat'}** over {record['searches']:,} searches "
        f"({'search_deep' if record['deep'] else 'search'}, {record['clients']} at a time, {rate:.0f} a second); "
        f"limit {record['limit_mb']:g} MB for 100,000 searches. PSS grew by "
        f"{verdict['pss']['slope']:+.1f} MB for 100,000 searches "
        f"[{verdict['pss']['low']:+.1f}, {verdict['pss']['high']:+.1f}].",
        *[f"- {complaint}" for complaint in verdict["complaints"]],
        "",
        str(
            Table(
                ["private dirty memory", "MB, settled", "MB, at the end", "MB for 100,000 searches [95 % interval]"],
                [
                    [
                        part,
                        *(f"{_megabytes(look, part):.1f}" for look in (first, last)),
                        f"{trend['slope']:+.2f} [{trend['low']:+.2f}, {trend['high']:+.2f}]",
                    ]
                    for part, trend in rows
                ],
            )
        ),
        "",
        str(
            Table(
                ["", "settled", "at the end"],
                [[name.replace("_", " "), f"{first[name]:,}", f"{last[name]:,}"] for name in _COUNTS],
            )
        ),
        "",
    ]
    return "\n".join(lines)


_COUNTS = ("descriptors", "threads", "shared_memory")


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
    for name in _COUNTS:
        values = np.array([look[name] for look in looks], float)
        counts.plot(searches, values / max(values[-1], 1), label=f"{name.replace('_', ' ')} (end: {values[-1]:,.0f})")
    counts.set_ylabel("relative to the end")
    counts.set_ylim(0, None)
    counts.legend(frameon=False, fontsize=8)
    for axes in (memory, counts):
        axes.set_xlabel("searches")
