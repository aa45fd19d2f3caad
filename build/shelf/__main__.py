"""Recommendation, from what shoppers did.

    python -m build.shelf evaluate --interactions transactions.parquet --release out/releases/current --out DIR
    python -m build.shelf personal --interactions interactions.jsonl --catalogue products.jsonl \\
        --release out/releases/current --out DIR

Interactions are a .parquet, .csv or .jsonl file with user, product_id and time (seconds since 1970 or ISO 8601);
basket, quantity, price and title are used where they are given. UCI Online Retail's invoices are read as they are.
Titles become vectors by the encoder of the release.

`evaluate` asks what a shopper buys next: baselines and the shelf learn from the past, are chosen on a window of four
weeks, and are measured on the next four. It writes recommend.json, recommend.md and recommend.png, and takes about a
quarter of an hour for 370,000 interactions on 2 cores.

`personal` asks whether a search that knows who asks finds sooner what they then bought. It writes personal.json and
personal.md, and takes a few minutes.

What serves is learned by `python -m build --interactions`.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from build.evaluation.offline import session
from build.release.index import encode
from build.release.later import Release
from build.release.publish import PRODUCT_ENCODER
from build.settings import ShelfSettings
from build.shelf import personal
from build.shelf.evaluate import evaluate
from build.shelf.interactions import read
from build.shelf.learn import Behaviour
from build.shelf.report import report
from shelfbridge.catalogue import read_catalogue
from shelfbridge.errors import DataError
from shelfbridge.program import OK, command_line, console, ended


def title_vectors(release: Path, titles: Sequence[str], told: Console) -> NDArray[np.float32]:
    """Unit vectors [N, D] of titles, by the encoder that the release's products were indexed with.

    Raises:
        ArtefactError: the folder is no release.
        DataError: no product has a title.
    """
    if not any(titles):
        raise DataError("no product has a title, and vectors are made of titles; give the column `title`")
    opened = Release.open(release)
    vectors, _ = encode(titles, opened.pieces(), session(opened.folder / PRODUCT_ENCODER), told)
    return vectors


def main() -> int:
    """The command line."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--interactions", type=Path, required=True, help="what shoppers did")
    shared.add_argument("--release", type=Path, required=True, help="folder of a release, whose encoder reads titles")
    shared.add_argument("--out", type=Path, required=True, help="folder for the results")
    weeks = "longest window in weeks, 1 to 52 (default: %(default)s)"
    shared.add_argument("--weeks", type=int, choices=range(1, 53), metavar="N", default=ShelfSettings.weeks, help=weeks)
    parser = command_line("build.shelf", __doc__ or "")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("evaluate", parents=[shared], help="measure baselines and the shelf")
    command = commands.add_parser(
        "personal", parents=[shared], help="measure what knowing who asks is worth to a search"
    )
    command.add_argument("--catalogue", type=Path, required=True, help="what the release was built from")
    command.add_argument("--wishes", type=int, default=600, help="queries of each kind (default: %(default)s)")
    options = parser.parse_args()
    return ended(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    told, begun = console(), time.monotonic()
    interactions, settings = read(options.interactions), ShelfSettings(weeks=options.weeks)
    if options.command == "evaluate":
        texts = title_vectors(options.release, interactions.titles, told)
        made = report(evaluate(interactions, texts, settings, told))
    else:
        catalogue = read_catalogue(options.catalogue)
        behaviour = Behaviour.of(interactions, catalogue)
        most = options.wishes
        record = personal.evaluate_personal(options.release, behaviour, catalogue, settings, most=most, console=told)
        made = personal.report(record)
    made.write(options.out, quiet=False)
    told.print(f"{options.out} after {time.monotonic() - begun:.0f} s")
    return OK


if __name__ == "__main__":
    sys.exit(main())
