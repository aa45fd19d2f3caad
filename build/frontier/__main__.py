"""What every step of compression costs in nDCG@10 and gains in speed and size, for one shop, from one command.

    python -m build.frontier --catalogue products.jsonl --judgments judgments.tsv --out out --results docs/results/shop

Trains the fine-tuned networks if the build has not, students of several shapes, and brings each to int8 and fp16;
judges all of them by nDCG@10 on dev and on all judged queries, paired with the fp32 teacher; times the CPU's files;
and measures how small the stored token vectors may be. Writes frontier.json, .md and .png. The quickest candidate
within 0.01 nDCG@10 of its teacher is marked; the presets of the build serve what was chosen so.
"""

import argparse
import json
import os
import platform
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from build.__main__ import data_digest, read, report
from build.foreign import ForeignPairs, read_pairs
from build.frontier.grid import GRIDS
from build.frontier.networks import STUDENT_BUDGET, Workbench
from build.frontier.report import write_report
from build.frontier.tokens import measure
from build.panel import Panel
from build.pipeline import Shop, Stages
from build.settings import PRESETS
from build.workspace import Workspace
from shelfbridge.errors import ShelfbridgeError


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalogue", type=Path, required=True, metavar="FILE", help="as for python -m build")
    parser.add_argument("--judgments", type=Path, required=True, metavar="FILE")
    parser.add_argument("--pairs", type=Path, metavar="FILE", help="more for the cross-encoder, as for the build")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="that of the build, whose stages serve")
    parser.add_argument("--preset", choices=PRESETS, default="full", help="of the build (default: %(default)s)")
    parser.add_argument(
        "--results", type=Path, default=Path("frontier"), metavar="DIR", help="of the report (default: %(default)s)"
    )
    options = parser.parse_args()
    console = Console()
    try:
        catalogue, judgments = read(options.catalogue, options.judgments, console)
        foreign = read_pairs(options.pairs) if options.pairs else ForeignPairs()
        if options.pairs:
            report(console, options.pairs, len(foreign.rows), "pairs", foreign.rejected)
        settings = PRESETS[options.preset]
        settings = replace(settings, compression=replace(settings.compression, half=True))
        shop = Shop(catalogue, judgments, foreign, data_digest(options), settings, console)
        write_report(options.results, frontier(options.out, shop, options.preset))
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
    stages = Stages(Workspace(out / "stages", shop.console), shop)
    made = stages.originals()
    panel = Panel.of(shop.catalogue, shop.judgments, shop.settings.compression.queries)
    whole = made.ensembles(stages.blended(made, made.cross_encoder))
    rows = Workbench(stages, made, panel, whole).rows(GRIDS[preset])
    tokens = stages.space.stage(
        "token-frontier",
        partial(
            measure,
            tokenizer=made.tokenizer / "tokenizer.json",
            encoder=made.encoder_graph / "model.onnx",
            index=made.index,
            decay=shop.settings.ranker.decay,
            console=shop.console,
            **shop.known,
        ),
        index=made.index,
        decay=shop.settings.ranker.decay,
    )
    return {
        "preset": preset,
        "products": len(shop.catalogue.products),
        "dev": panel.dev,
        "all": len(panel.judgments.queries),
        "student_budget": STUDENT_BUDGET,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "rows": [asdict(row) for row in rows],
        "tokens": json.loads((tokens / "token_frontier.json").read_text()),
    }


if __name__ == "__main__":
    main()
