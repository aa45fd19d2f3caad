"""How many private and public instances a shop needs in every hour, and from where on to burst, at the least cost.

    python -m loadtests.hybrid curves --topology FILE … --out out/loadtest/curves      (once per release and machine)
    python -m loadtests.plan --demand demand.csv --prices prices.toml --curves out/loadtest/curves/curves.json \\
        --slo p99=150ms --out out/plan

Demand: a CSV file with a row an hour: `hour`, `rate` (requests a second), and if wanted `peak` (the highest rate in
it, which may come within seconds) and `restricted` (share of requests that must stay private). Prices: a TOML file.
Examples of both are in loadtests/plan/example.

Three strategies are planned and shown side by side: private only, public only (what is restricted stays private even
so) and hybrid. Every fleet is simulated at each hour's rate and peak. A new instance takes minutes to arrive and a sale
seconds to begin, so a peak must be held by what stands there when its hour begins.

How far the simulation can be trusted: `python -m loadtests.plan.check` holds it against measured runs. Writes
plan.json, plan.md and plan.png. Exit status 1 where no strategy keeps the promise.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from loadtests.plan import demand, report
from loadtests.plan.curves import Curves
from loadtests.plan.fleet import Strategy
from loadtests.plan.prices import Prices
from loadtests.plan.sale import hardest, sale
from loadtests.plan.search import Planner
from loadtests.program import command_line, ending, read_model
from loadtests.slo import Slo
from shelfbridge.errors import SettingsError, ShelfbridgeError
from shelfbridge.measure.report import Report

STRATEGIES: tuple[Strategy, ...] = ("private", "public", "hybrid")


class NoPlan(ShelfbridgeError):
    """No strategy keeps the promise."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Plan and report."""
    parser = command_line("plan", __doc__)
    parser.add_argument("--demand", type=Path, required=True, help="CSV file: hour, rate, peak, restricted")
    parser.add_argument("--prices", type=Path, required=True, help="TOML file")
    parser.add_argument("--curves", type=Path, required=True, help="curves.json of python -m loadtests.hybrid curves")
    parser.add_argument("--slo", type=Slo.parse, required=True, help="such as p99=150ms or search:p95=80ms")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    options = parser.parse_args(arguments)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with ending("nothing was written"), console.status("planning") as status:
        hours = demand.read(options.demand)
        example = "give a TOML file, such as loadtests/plan/example/prices.toml"
        priced = read_model(Prices, options.prices, SettingsError, example)
        planner = Planner(Curves.read(options.curves), priced, options.slo, status.update)
        plans = [planner.plan(strategy, hours) for strategy in STRATEGIES]
        best = min(plans, key=lambda plan: plan.cost)
        if not best.cells:
            reasons = "; ".join(f"{plan.strategy}: {plan.failure}" for plan in plans)
            raise NoPlan(
                f"{options.slo} cannot be kept ({reasons}); promise less, allow more instances, or use faster ones"
            )
        status.update("the hardest hour")
        peak = hardest(best.cells)
        found = report.record(plans, best, sale(planner, peak) if peak else None, options.slo)
        status.stop()
        drawn = partial(report.draw, found=found)
        Report("plan", found, report.blocks(found), drawn, (13, 7)).write(options.out, quiet=False)


if __name__ == "__main__":
    main()
