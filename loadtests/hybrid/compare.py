"""Two runs side by side: what the second one changed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

from loadtests import program
from loadtests.hybrid import page
from loadtests.hybrid.latencies import decode, joined
from loadtests.hybrid.plots import percentiles
from loadtests.hybrid.tables import Table, number
from shelfbridge.errors import DataError

matplotlib.use("Agg")
from matplotlib import pyplot

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
        Table("Runs", ["", *names], others),
        Table(
            "Latency, ms",
            ["kind", "", *names, "ratio"],
            [
                [row["kind"], row["percentile"], number(row["first"]), number(row["second"]), f"{row['ratio']:.2f}"]
                for row in rows
            ],
        ),
    ]
    sentence = f"{names[0]}: {first['about']}, {first['wan']}. {names[1]}: {second['about']}, {second['wan']}."
    lines = [f"## {' and '.join(names)}", "", sentence, "", *(line for each in tables for line in each.markdown())]
    record = {"runs": names, "latency": rows, "others": others}
    program.write(folder, "comparison", record, "\n".join(lines), lambda file: _draw(file, first, second))
    page.write(
        folder / "comparison.html",
        title=" and ".join(names),
        sentence=sentence,
        kept=second["verdict"]["kept"],
        tables=tables,
        pictures=[folder / "comparison.png"],
    )


def _draw(file: Path, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    whole = {
        run["name"]: joined(decode(group["histogram"]) for group in run["groups"] if "histogram" in group)
        for run in (first, second)
    }
    percentiles(axes, whole)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
