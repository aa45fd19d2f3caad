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
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from build.evaluation.offline import Ensembles
from build.evaluation.panel import Panel
from build.frontier.grid import GRIDS
from build.frontier.networks import Workbench
from build.frontier.report import write_report
from build.inputs import add_arguments, given_by, read_shop
from build.shop import Shop
from build.stages import Stages
from build.workspace import Workspace
from shelfbridge.errors import ShelfbridgeError

LEAST_QUERIES = 60
"""That candidates are judged by, where there are so many."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m build.frontier", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    parser.add_argument(
        "--results", type=Path, default=Path("frontier"), metavar="DIR", help="of the report (default: %(default)s)"
    )
    options = parser.parse_args()
    console = Console()
    try:
        given = given_by(options)
        shop = read_shop(given, console)
        compression = shop.settings.compression
        compression = replace(compression, half=True, queries=max(compression.queries, LEAST_QUERIES))
        shop = replace(shop, settings=shop.settings.model_copy(update={"compression": compression}))
        write_report(options.results, frontier(given.out, shop, options.preset))
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on where this one ended") from None
    console.print((options.results / "frontier.md").read_text(), highlight=False)


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
        "rows": [asdict(row) for row in rows],
        "refused": bench.refused,
        "tokens": json.loads((tokens / "token_frontier.json").read_text()),
    }


if __name__ == "__main__":
    main()
