"""Two runs side by side: what the second one changed."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from loadtests.hybrid import page
from loadtests.hybrid.latencies import decode, joined
from loadtests.hybrid.plots import percentiles
from loadtests.hybrid.tables import number
from shelfbridge.errors import DataError
from shelfbridge.measure.report import Report, Table

SHOWN = ("p50", "p95", "p99", "p99.9")


def load(path: Path) -> dict[str, Any]:
    """The record of a run, by its folder or its JSON file.

    Raises:
        DataError: there is none.
    """
    file = path / "run.json" if path.is_dir() else path
    try:
        record: dict[str, Any] = json.loads(file.read_bytes())
        return record if {"groups", "latency", "verdict"} <= record.keys() else _foreign(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is no record of a run ({error}); name a folder that a run wrote") from error


def _foreign(file: Path) -> dict[str, Any]:
    raise DataError(f"{file} is no record of a run; name a folder that a run wrote")


def compare(first: Mapping[str, Any], second: Mapping[str, Any], folder: Path) -> None:
    """Write `comparison.json`, `.md`, `.png` and `.html`."""
    rows = [
        {"kind": kind, "percentile": name, "first": a[name], "second": b[name], "ratio": b[name] / a[name]}
        for kind, a in first["latency"].items()
        if (b := second["latency"].get(kind)) and a["count"] and b["count"]
        for name in SHOWN
    ]
    others = [
        ["requests a second", f"{first['rate']:.1f}", f"{second['rate']:.1f}"],
        ["answered by the public site", f"{first['burst_share']:.1%}", f"{second['burst_share']:.1%}"],
        *(
            [f"failed, {who}", f"{first['failed'][who]:,}", f"{second['failed'][who]:,}"]
            for who in ("unrestricted", "restricted")
        ),
        ["promises", *("kept" if run["verdict"]["kept"] else "**missed**" for run in (first, second))],
    ]
    names = [first["name"], second["name"]]
    tables = [
        Table(["", *names], others, "Runs"),
        Table(
            ["kind", "", *names, "ratio"],
            [
                [row["kind"], row["percentile"], number(row["first"]), number(row["second"]), f"{row['ratio']:.2f}"]
                for row in rows
            ],
            "Latency, ms",
        ),
    ]
    sentence = f"{names[0]}: {first['about']}, {first['wan']}. {names[1]}: {second['about']}, {second['wan']}."
    blocks: list[str | Table] = [f"## {' and '.join(names)}", sentence, *tables]
    record = {"runs": names, "latency": rows, "others": others}
    drawn = partial(_draw, first=first, second=second)
    Report("comparison", record, blocks, drawn, (8, 4.5)).write(folder, quiet=False)
    page.write(
        folder / "comparison.html",
        title=" and ".join(names),
        sentence=sentence,
        kept=second["verdict"]["kept"],
        tables=tables,
        pictures=[folder / "comparison.png"],
    )


def _draw(figure: Figure, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    axes = figure.subplots()
    whole = {
        run["name"]: joined(decode(group["histogram"]) for group in run["groups"] if "histogram" in group)
        for run in (first, second)
    }
    percentiles(axes, whole)
