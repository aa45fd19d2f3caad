"""A shop's load on two sites, with the real Triton twice, the real Envoy and Locust.

    python -m loadtests.hybrid matrix  --topology FILE --catalogue FILE --judgments FILE --interactions FILE --out DIR
    python -m loadtests.hybrid run     … --scenario flash_sale --mode hybrid --rate 12 --slo p99=150ms
    python -m loadtests.hybrid curves  … --rates 20 40 80 120 160
    python -m loadtests.hybrid compare --out DIR FIRST SECOND
    python -m loadtests.hybrid shop    --catalogue FILE --judgments FILE --interactions FILE --release DIR --out FILE

Visitors search (most of them), look at their shelf, have their clicks recorded. Queries and products are drawn by
Zipf's law. A visitor thinks between two requests, so one who waits asks less (a closed loop of many visitors). Sites,
WAN and policies are those of the topology; certificates, keys and tokens are made for the run. With root the WAN is a
network namespace behind a process that delays and drops packets, else a relay: each report says which.

Modes: `private` (no token lets a search leave), `public` (every search that may leave does), `hybrid` (above the
topology's `burst_above`). What is restricted stays private in all. Scenarios:

{scenarios}

A run's figures come from three witnesses, joined by request id: Locust, the gateway's own lines, and the times of the
steps in the answers. Exit status 1 where a promise (--slo) was missed, something restricted was counted at the public
site, or an unrestricted request failed; of the matrix, in a hybrid run.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from loadtests.hybrid import compare, report
from loadtests.hybrid.cloud import MODES, Cloud
from loadtests.hybrid.curves import curves
from loadtests.hybrid.matrix import matrix
from loadtests.hybrid.run import run
from loadtests.hybrid.scenarios import SCENARIOS
from loadtests.hybrid.session import Session, write_shop
from loadtests.hybrid.verdict import verdict
from loadtests.program import amount, command_line, count, ending
from loadtests.slo import Slo

RATES = (20.0, 40.0, 80.0, 120.0, 160.0)
HELD_OUT = (30.0, 60.0, 100.0)
POINT_S = 15.0
"""Of a point of the curves."""


def share(text: str) -> float:
    """A share, as argparse reads it."""
    value = float(text) if text.replace(".", "", 1).isdecimal() else -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; give 0 or more and less than 1")
    return value


def parser() -> argparse.ArgumentParser:
    """The command line."""
    scenarios = "\n".join(f"    {name:12} {made(1, 60).about}" for name, made in SCENARIOS.items())
    made = command_line("hybrid", (__doc__ or "").format(scenarios=scenarios))
    commands = made.add_subparsers(dest="command", required=True)
    for name, text in {
        "matrix": "private, public and hybrid through steady load, a flash sale and a site's failure",
        "run": "one scenario in one mode",
        "curves": "latency over load of each site, for python -m loadtests.plan",
    }.items():
        command = commands.add_parser(name, help=text, description=text)
        _shop(command)
        command.add_argument("--topology", type=Path, required=True, help="such as deploy/topologies/loadtest.toml")
        command.add_argument("--out", type=Path, required=True, help="folder of the reports")
        command.add_argument("--think", type=amount, default=1.0, help="mean seconds between a visitor's requests (1)")
        command.add_argument("--workers", type=count, default=1, help="Locust's processes (1)")
        command.add_argument("--seed", type=int, default=7, help="of what is asked (7)")
        command.add_argument(
            "--restricted", type=share, help="share of requests that must stay private (the shop's own mix: 0.4)"
        )
        if name != "curves":
            command.add_argument("--rate", type=amount, default=12.0, help="requests a second before any surge (12)")
            command.add_argument(
                "--slo", type=Slo.parse, nargs="*", default=[], help="such as p99=150ms search:p95=80ms"
            )
    commands.choices["run"].add_argument("--scenario", choices=list(SCENARIOS), default="steady", help="(steady)")
    commands.choices["run"].add_argument("--mode", choices=MODES, default="hybrid", help="(hybrid)")
    commands.choices["run"].add_argument("--seconds", type=amount, help="without the warm-up")
    commands.choices["curves"].add_argument(
        "--rates", type=amount, nargs="+", default=list(RATES), help="requests a second"
    )
    commands.choices["curves"].add_argument(
        "--held-out",
        type=amount,
        nargs="*",
        default=list(HELD_OUT),
        metavar="RATE",
        help="rates of runs to hold the planner against, for python -m loadtests.plan.check",
    )
    commands.choices["curves"].add_argument("--seconds", type=amount, default=POINT_S, help="of each point (15)")
    two = commands.add_parser("compare", help="two runs side by side", description="two runs side by side")
    two.add_argument("runs", type=Path, nargs=2, metavar="RUN", help="folder that a run wrote")
    two.add_argument("--out", type=Path, required=True, help="folder of the comparison")
    shop = commands.add_parser(
        "shop", help="what visitors ask for, for locust alone", description="what visitors ask for"
    )
    _shop(shop)
    shop.add_argument("--release", type=Path, required=True, help="folder of a release")
    shop.add_argument("--out", type=Path, required=True, help="JSON file")
    return made


def _shop(command: argparse.ArgumentParser) -> None:
    command.add_argument("--catalogue", type=Path, required=True, help="what the release was built from")
    command.add_argument("--judgments", type=Path, required=True, help="their queries are searched, and varied")
    command.add_argument("--interactions", type=Path, required=True, help="shoppers, and what they bought")


def measure(options: argparse.Namespace, console: Console) -> int:
    """Take the sites up and do what is asked.

    Returns:
        Exit status.
    """
    session = Session.of(options)
    with tempfile.TemporaryDirectory(dir=options.out) as secrets, console.status("starting both sites") as status:
        cloud = Cloud(session.topology, Path(secrets) / "security")
        with cloud:
            if options.command == "curves":
                held_out = {rate: session.held_out(rate, options.out / f"run_{rate:g}") for rate in options.held_out}
                curves(cloud, session.point, options.rates, options.out, status.update, held_out=held_out)
                return 0
            if options.command == "matrix":
                records = matrix(cloud, session.cell, options.slo, options.out, status.update)
                return 0 if all(record["verdict"]["kept"] for record in records if record["mode"] == "hybrid") else 1
            plan = session.plan(session.scenario(options.scenario), options.mode, options.out)
            record = run(cloud, plan, lambda seconds: status.update(f"{plan.name}: {seconds:.0f} s"))
    record["verdict"] = verdict(record, options.slo)
    report.write(options.out, record)
    print(report.summary(record))
    print(f"More of it: {options.out / 'run.html'}")
    return 0 if record["verdict"]["kept"] else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    options = parser().parse_args(arguments)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with ending("stopped; the sites are down"):
        if options.command == "compare":
            first, second = map(compare.load, options.runs)
            compare.compare(first, second, options.out)
            return 0
        if options.command == "shop":
            write_shop(options, options.release, options.out)
            return 0
        return measure(options, console)


if __name__ == "__main__":
    sys.exit(main())
