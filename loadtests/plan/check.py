"""How far the planner's simulation can be trusted: its predictions beside runs that were measured.

    python -m loadtests.plan.check --curves curves.json --out DIR RUN RUN …

Runs are folders that `python -m loadtests.hybrid` wrote with steady load: those that `curves` held out, or of `run`
with the same release and machine. Each is simulated at its measured rate and mix, in its mode and with its threshold.
Writes check.json, check.md and check.png.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from loadtests.hybrid.compare import load
from loadtests.hybrid.scenarios import Stage
from loadtests.plan.curves import Curves
from loadtests.plan.fleet import ALWAYS_PRIVATE, Fleet
from loadtests.plan.search import MARGIN
from loadtests.plan.simulate import simulate
from loadtests.program import command_line, ending
from shelfbridge.errors import DataError
from shelfbridge.measure.report import Cell, Report, Table

REQUESTS, WARM_UP_S = 40_000, 5.0
SHOWN = ("p50", "p95", "p99")
KEY = ("all", "p99")
BEYOND = 1.05
"""Times the highest load of the curves up to which a run may be held against them."""


def fleet(run: Mapping[str, Any]) -> Fleet:
    """One instance of each site, as the run used them."""
    threshold = {"private": ALWAYS_PRIVATE, "public": 0, "hybrid": run["policies"]["burst_above"]}[run["mode"]]
    return Fleet(1, 0 if run["mode"] == "private" else 1, threshold)


def check(curves: Curves, run: Mapping[str, Any]) -> dict[str, Any]:
    """Predicted beside measured: latency in milliseconds by kind, and the bursts' share.

    Raises:
        DataError: the private site answered more a second than was measured.
    """
    free = sum(share for kind, share in run["mix"].items() if kind not in curves.restricted)
    if (private := run["rate"] * (1 - free * run["burst_share"])) > BEYOND * curves.sites["private"].highest:
        raise DataError(
            f"{run['name']}: {private:.0f} answers a second at the private site, and its curve ends at "
            f"{curves.sites['private'].highest:.0f}; measure curves with higher --rates"
        )
    stages = [Stage.level("level", WARM_UP_S + REQUESTS / run["rate"], run["rate"])]
    outcome = simulate(curves, fleet(run), stages, mix=run["mix"], warm_up=WARM_UP_S)
    rows = [
        {
            "kind": kind,
            "percentile": name,
            "measured": measured[name],
            "predicted": (predicted := outcome.percentile(float(name[1:]), kind)),
            "error": predicted / measured[name] - 1,
        }
        for kind, measured in run["latency"].items()
        for name in SHOWN
    ]
    return {
        "name": run["name"],
        "rate": run["rate"],
        "requests": run["requests"],
        "rows": rows,
        "burst_share": {"measured": run["burst_share"], "predicted": outcome.burst_share},
    }


COLUMNS: dict[str, Cell] = {
    "run": "{name}, {rate:.0f} a second",
    "requests": "{requests:,}",
    "kind": "{kind}",
    **{f"{name} ms": f"{{{name}[measured]:.1f}}" for name in SHOWN},
    **{f"{name}, predicted": f"{{{name}[predicted]:.1f}}" for name in SHOWN},
    "error at p99": "{p99[error]:+.0%}",
    "bursts, measured / predicted": "{burst_share[measured]:.0%} / {burst_share[predicted]:.0%}",
}


def blocks(found: Sequence[Mapping[str, Any]]) -> list[str | Table]:
    """Return how far the predictions are right, of all requests and of searches."""
    rows = [
        {**each, "kind": kind, **{row["percentile"]: row for row in each["rows"] if row["kind"] == kind}}
        for each in found
        for kind in ("all", "search")
    ]
    return [_signs(found), Table.of(COLUMNS, rows)]


def _signs(found: Sequence[Mapping[str, Any]]) -> str:
    """Return how far and to which side the p99 is missed, and whether the planner's margin covers it."""
    errors = [row["error"] for each in found for row in each["rows"] if (row["kind"], row["percentile"]) == KEY]
    told = f"The p99 of all requests is predicted with errors of {min(errors):+.0%} to {max(errors):+.0%}, "
    told += f"{np.mean(errors):+.0%} on average over {len(errors)} runs"
    if len(errors) > 1 and (all(error < 0 for error in errors) or all(error > 0 for error in errors)):
        told += f": too {'low' if errors[0] < 0 else 'high'} in every one"
    margin = 1 - MARGIN
    covers = "covers" if -min(errors) <= margin / (1 - margin) else "does not cover"
    return f"{told}. The plan's margin of {margin:.0%} {covers} the lowest."


def draw(figure: Figure, found: Sequence[Mapping[str, Any]]) -> None:
    """Predicted over measured."""
    axes = figure.subplots()
    rows = pd.DataFrame([row for each in found for row in each["rows"] if row["kind"] == "all"])
    for name, marker in zip(SHOWN, "os^", strict=True):
        some = rows[rows.percentile == name]
        axes.scatter(some.measured, some.predicted, marker=marker, label=f"{name} of all requests")
    line = np.array([max(1.0, axes.get_xlim()[0]), axes.get_xlim()[1]])
    axes.plot(line, line, color="#555555", lw=1)
    axes.fill_between(line, 0.75 * line, 1.25 * line, color="#dddddd", zorder=-1, label="within 25 %")
    axes.set(xlabel="measured, ms", ylabel="predicted, ms")
    axes.legend(frameon=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Check and report."""
    parser = command_line("plan.check", __doc__)
    parser.add_argument("--curves", type=Path, required=True, help="curves.json of python -m loadtests.hybrid curves")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder that a steady run wrote")
    options = parser.parse_args(arguments)
    with ending("nothing was written"):
        curves = Curves.read(options.curves)
        runs = sorted(map(load, options.runs), key=lambda run: run["rate"])
        found = [check(curves, run) for run in runs]
        drawn = partial(draw, found=found)
        Report("check", found, blocks(found), drawn, (5.5, 5)).write(options.out, quiet=False)


if __name__ == "__main__":
    main()
