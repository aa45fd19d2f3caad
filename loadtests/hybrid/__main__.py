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

from build.shelf.interactions import read
from deploy.hybrid import load
from loadtests.hybrid import compare, report
from loadtests.hybrid.cloud import MODES, Cloud, Mode
from loadtests.hybrid.curves import curves
from loadtests.hybrid.matrix import matrix
from loadtests.hybrid.measured import verdict
from loadtests.hybrid.run import Plan, run
from loadtests.hybrid.scenarios import SCENARIOS, scenario
from loadtests.hybrid.traffic import Shop, mix_of
from loadtests.program import amount, command_line, count, ending
from loadtests.serving import queries_of
from loadtests.slo import Slo


def share(text: str) -> float:
    """Return a share, as argparse reads it."""
    value = float(text) if text.replace(".", "", 1).isdecimal() else -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; give 0 or more and less than 1")
    return value


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    scenarios = "\n".join(f"    {name:12} {given['about']}" for name, given in SCENARIOS.items())
    made = command_line("hybrid", (__doc__ or "").format(scenarios=scenarios))
    shop = argparse.ArgumentParser(add_help=False)
    shop.add_argument("--catalogue", type=Path, required=True, help="what the release was built from")
    shop.add_argument("--judgments", type=Path, required=True, help="their queries are searched, and varied")
    shop.add_argument("--interactions", type=Path, required=True, help="shoppers, and what they bought")
    load = argparse.ArgumentParser(add_help=False, parents=[shop])
    load.add_argument("--topology", type=Path, required=True, help="such as deploy/topologies/loadtest.toml")
    load.add_argument("--out", type=Path, required=True, help="folder of the reports")
    load.add_argument("--think", type=amount, default=1.0, help="mean seconds between a visitor's requests (1)")
    load.add_argument("--workers", type=count, default=1, help="Locust's processes (1)")
    load.add_argument("--seed", type=int, default=7, help="of what is asked (7)")
    load.add_argument(
        "--restricted", type=share, help="share of requests that must stay private (the shop's own mix: 0.4)"
    )
    promised = argparse.ArgumentParser(add_help=False, parents=[load])
    promised.add_argument("--rate", type=amount, default=12.0, help="requests a second before any surge (12)")
    promised.add_argument("--slo", type=Slo.parse, nargs="*", default=[], help="such as p99=150ms search:p95=80ms")

    commands = made.add_subparsers(dest="command", required=True)

    def add(name: str, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=parents)

    add("matrix", "private, public and hybrid through steady load, a flash sale and a site's failure", promised)
    one = add("run", "one scenario in one mode", promised)
    one.add_argument("--scenario", choices=list(SCENARIOS), default="steady", help="(steady)")
    one.add_argument("--mode", choices=MODES, default="hybrid", help="(hybrid)")
    one.add_argument("--seconds", type=amount, help="without the warm-up")
    rising = add("curves", "latency over load of each site, for python -m loadtests.plan", load)
    rising.add_argument(
        "--rates", type=amount, nargs="+", default=[20.0, 40.0, 80.0, 120.0, 160.0], help="requests a second"
    )
    rising.add_argument(
        "--held-out",
        type=amount,
        nargs="*",
        default=[30.0, 60.0, 100.0],
        metavar="RATE",
        help="rates of runs to hold the planner against, for python -m loadtests.plan.check",
    )
    rising.add_argument("--seconds", type=amount, default=15.0, help="of each point (15)")
    two = add("compare", "two runs side by side")
    two.add_argument("runs", type=Path, nargs=2, metavar="RUN", help="folder that a run wrote")
    two.add_argument("--out", type=Path, required=True, help="folder of the comparison")
    asked = add("shop", "what visitors ask for, for locust alone", shop)
    asked.add_argument("--release", type=Path, required=True, help="folder of a release")
    asked.add_argument("--out", type=Path, required=True, help="JSON file")
    return made


def write_shop(options: argparse.Namespace, release: Path, file: Path) -> None:
    """Write what visitors ask for.

    Raises:
        DataError, ArtefactError: a file cannot be used, or is of another shop than the release.
    """
    stream = queries_of(release, options.catalogue, options.judgments)()
    bought = read(options.interactions)
    shop = Shop(queries=stream.pool, products=list(bought.items), shoppers=list(bought.users))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(shop.model_dump_json())


def measure(options: argparse.Namespace, console: Console) -> int:
    """Take the sites up, do what is asked, and return the exit status.

    Raises:
        SettingsError: the topology cannot be used.
        DataError, ArtefactError: the shop's files cannot be used, or are of another shop.
    """
    topology, out = load(options.topology), options.out
    asked = scenario("steady", 1.0)
    if options.command == "run":
        asked = scenario(options.scenario, options.rate, options.seconds)
        wan = topology.wan.model_copy(update=SCENARIOS[options.scenario].get("wan", {}))
        topology = topology.model_copy(update={"wan": wan})
    write_shop(options, topology.private.release, out / "shop.json")
    mode: Mode = getattr(options, "mode", "hybrid")
    mix = mix_of(options.restricted)
    plan = Plan(asked, mode, out / "shop.json", out, mix, options.think, options.workers, options.seed)
    with (
        tempfile.TemporaryDirectory(dir=out) as secrets,
        console.status("starting both sites") as status,
        Cloud(topology, Path(secrets) / "security") as cloud,
    ):
        if options.command == "curves":
            points = {"rates": options.rates, "held_out": options.held_out, "seconds": options.seconds}
            curves(cloud, plan, status.update, **points)
            return 0
        if options.command == "matrix":
            records = matrix(cloud, plan, options.rate, options.slo, status.update)
            return 0 if all(record["verdict"]["kept"] for record in records if record["mode"] == "hybrid") else 1
        record = run(cloud, plan, status.update)
    record["verdict"] = verdict(record, options.slo)
    report.write(out, record)
    print(report.summary(record))
    print(f"More of it: {out / 'run.html'}")
    return 0 if record["verdict"]["kept"] else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    options = parser().parse_args(arguments)
    with ending("the sites are down"):
        if options.command == "compare":
            first, second = map(compare.load, options.runs)
            compare.compare(first, second, options.out)
            return 0
        if options.command == "shop":
            write_shop(options, options.release, options.out)
            return 0
        return measure(options, Console(stderr=True, highlight=False, soft_wrap=True))


if __name__ == "__main__":
    sys.exit(main())
