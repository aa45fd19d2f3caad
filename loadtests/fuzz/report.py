"""What came of the attacks, as people look at it."""

from collections.abc import Mapping
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure

from loadtests.fuzz.watch import TELLING
from shelfbridge.measure.report import Table

Record = Mapping[str, Any]


def text(record: Record) -> str:
    """Markdown."""
    verdict = "**Nothing broke**" if not record["broken"] else "**Broken**: " + "; ".join(record["broken"])
    rows = [
        [
            category,
            way,
            f"{sum(ends.values()):,}",
            ", ".join(f"{name} {number:,}" for name, number in sorted(ends.items(), key=lambda each: -each[1])),
            f"{record['slowest_s'][category][way]:.2f}",
        ]
        for category, ways in sorted(record["ends"].items())
        for way, ends in sorted(ways.items())
    ]
    others = [
        [name, f"{took['count']:,}", f"{took['p50']:.1f}", f"{took['p99']:.1f}"]
        for name, took in record["others"].items()
    ]
    grown = ", ".join(f"{name} {value:+.1f}" for name, value in record["growth_mb"].items())
    grown = grown or f"not told by fewer than {TELLING:,} requests"
    died = {death["site"] for death in record["deaths"]}
    grown += "".join(f", {name} not told, as it died" for name in sorted(died))
    searched = sum(took["count"] for took in record["others"].values())
    wrong = len(record["others_wrong"]) + record["missed"]
    left_out = (
        ""
        if record["given_up"]
        else f" **Left out: calls that their callers give up**, of which Triton {record['triton']} may crash."
    )
    lines = [
        f"{verdict} over {record['requests']:,} hostile requests in {record['seconds']:.0f} s (seed {record['seed']}). "
        f"{searched:,} searches of others meanwhile, {wrong:,} of them failed or were answered otherwise; "
        f"{record['restricted_outside']} restricted requests at the public site. Private memory after it had settled, "
        f"MB: {grown}.{left_out}",
        "",
        str(Table(["others' searches", "answers", "p50 ms", "p99 ms"], others)),
        "",
        str(Table(["requests", "way", "sent", "how they ended", "slowest, s"], rows)),
        "",
    ]
    return "\n".join(lines)


def draw(figure: Figure, record: Record) -> None:
    """Memory over the attacks, and how each kind ended."""
    (memory, ends) = figure.subplots(1, 2)
    for name in record["looks"][0]["memory"]:
        seen = [(look["requests"], look["memory"][name]) for look in record["looks"] if name in look["memory"]]
        memory.plot(*zip(*seen, strict=True), label=name)
    memory.set_xlabel("hostile requests")
    memory.set_ylabel("private memory, MB")
    memory.set_ylim(0, None)
    memory.legend(frameon=False)
    categories = sorted(record["ends"], reverse=True)
    names = sorted({name for ways in record["ends"].values() for found in ways.values() for name in found})
    left = [0] * len(categories)
    for place, name in enumerate(names):
        widths = [sum(found.get(name, 0) for found in record["ends"][category].values()) for category in categories]
        ends.barh(categories, widths, left=left, label=name, color=colormaps["tab20"](place))
        left = [a + b for a, b in zip(left, widths, strict=True)]
    ends.set_xlabel("requests, by how they ended")
    ends.legend(frameon=False, fontsize=7)
