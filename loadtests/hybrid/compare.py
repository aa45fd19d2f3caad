"""Two runs side by side: what the second one changed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadtests.hybrid.measured import PERCENTILES
from loadtests.hybrid.plots import percentiles
from loadtests.hybrid.report import KEPT, figure, publish, titled
from shelfbridge.errors import DataError
from shelfbridge.measure.report import Report, Table


def load(path: Path) -> dict[str, Any]:
    """Return the record of a run, by its folder or its JSON file.

    Raises:
        DataError: there is none.
    """
    file = path / "run.json" if path.is_dir() else path
    try:
        record: dict[str, Any] = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is no record of a run ({error}); name a folder that a run wrote") from error
    if not {"groups", "latency", "tail", "verdict"} <= record.keys():
        raise DataError(f"{file} is no record of a run of this version; name a folder that a run wrote")
    return record


def compare(first: Mapping[str, Any], second: Mapping[str, Any], folder: Path) -> None:
    """Write `comparison.json`, `.md`, `.png` and `.html`."""
    runs = {run["name"]: run for run in (first, second)}
    names = [first["name"], second["name"]]
    rows = [
        {"kind": kind, "percentile": name, "first": a[name], "second": b[name], "ratio": b[name] / a[name]}
        for kind, a in first["latency"].items()
        if (b := second["latency"].get(kind)) and a["count"] and b["count"]
        for name in PERCENTILES
    ]
    others = {
        "requests a second": [f"{run['rate']:.1f}" for run in (first, second)],
        "answered by the public site": [f"{run['burst_share']:.1%}" for run in (first, second)],
        "failed, unrestricted": [f"{run['failed']['unrestricted']:,}" for run in (first, second)],
        "failed, restricted": [f"{run['failed']['restricted']:,}" for run in (first, second)],
        "promises": [KEPT[run["verdict"]["kept"]] for run in (first, second)],
    }
    whole = Table(["", *names], [[what, *values] for what, values in others.items()], "Runs")
    columns = {"kind": "{kind}", "": "{percentile}", "first": figure("first"), "second": figure("second")}
    latency = titled("Latency, ms", {**columns, "ratio": "{ratio:.2f}"}, rows)
    sentence = f"{names[0]}: {first['about']}, {first['wan']}. {names[1]}: {second['about']}, {second['wan']}."
    report = Report(
        "comparison",
        {"runs": names, "latency": rows, "others": whole.rows},
        [f"## {' and '.join(names)}", sentence, whole, latency],
        lambda drawn: percentiles(drawn.subplots(), {name: run["tail"]["all"] for name, run in runs.items()}),
        (8, 4.5),
    )
    publish(report, folder, kept=second["verdict"]["kept"])
