"""What every step of compression costs in nDCG@10 and gains in speed and size, for one shop, from one command.

    python -m build.frontier --catalogue products.jsonl --judgments judgments.tsv --out out --results docs/results/shop

Trains the fine-tuned networks if the build has not, students of several shapes, and brings each to int8 and fp16;
judges all of them by nDCG@10 on dev and on all judged queries, paired with the fp32 teacher; times the CPU's files;
and measures how small the stored token vectors may be. Writes frontier.json, .md and .png. The quickest candidate
within the release's budget of nDCG@10 is marked; "served" is what the preset of the build would serve.
"""

import argparse
import json
import os
import platform
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from build.evaluation.offline import Ensembles
from build.evaluation.panel import Panel
from build.frontier.networks import GRIDS, Workbench
from build.frontier.report import networks_report
from build.inputs import add_arguments, check_writable, given_by, read_shop
from build.shop import Shop
from build.stages import Stages
from build.workspace import Workspace
from shelfbridge import program

LEAST_QUERIES = 60
"""That candidates are judged by, where there are so many."""


def main() -> int:
    """Run the command line and return its exit status."""
    parser = program.command_line("build.frontier", __doc__ or "")
    add_arguments(parser)
    parser.add_argument(
        "--results", type=Path, default=Path("frontier"), metavar="DIR", help="of the report (default: %(default)s)"
    )
    options = parser.parse_args()
    status = program.ended(lambda: _measure(options))
    if status == program.INTERRUPTED:
        program.console(stderr=True).print("stopped; the same command goes on where this one ended")
    return status


def _measure(options: argparse.Namespace) -> int:
    given, console = given_by(options), Console()
    check_writable(given.out)
    shop = read_shop(given, console)
    compression = shop.settings.compression
    compression = replace(compression, half=True, queries=max(compression.queries, LEAST_QUERIES))
    shop = replace(shop, settings=shop.settings.model_copy(update={"compression": compression}))
    report = networks_report(frontier(given.out, shop, options.preset))
    report.write(options.results)
    program.console().print(report.markdown)
    return program.OK


def frontier(out: Path, shop: Shop, preset: str) -> dict[str, object]:
    """Make and measure all candidates.

    Returns:
        The record that `frontier.json` holds.
    """
    stages, space = Stages(shop), Workspace(out / "stages", shop.console)
    panel = Panel.of(shop.catalogue, shop.judgments, shop.settings.compression.queries)
    whole = Ensembles.open(**{name: space.run(stage) for name, stage in stages.whole.items()})
    bench = Workbench(stages, space, panel, whole)
    rows = bench.rows(GRIDS[preset])
    tokens = space.run(stages.token_frontier())
    return {
        "preset": preset,
        "products": len(shop.catalogue.products),
        "dev": panel.dev,
        "all": len(panel.judgments.queries),
        "budget": shop.settings.compression.budget,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "rows": rows,
        "refused": bench.refused,
        "tokens": json.loads((tokens / "token_frontier.json").read_text()),
    }


if __name__ == "__main__":
    raise SystemExit(main())
