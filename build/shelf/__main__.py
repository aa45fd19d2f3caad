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
import json
import time
from pathlib import Path

from rich.console import Console

from build.shelf import personal
from build.shelf.evaluate import evaluate
from build.shelf.interactions import read
from build.shelf.learn import Behaviour
from build.shelf.report import table, write_report
from build.shelf.split import WEEKS
from build.shelf.texts import title_vectors
from shelfbridge.catalogue import read_catalogue
from shelfbridge.errors import ShelfbridgeError


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m build.shelf", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("evaluate", help="measure baselines and the shelf")
    command.add_argument("--interactions", type=Path, required=True, help="what shoppers did")
    command.add_argument("--release", type=Path, required=True, help="folder of a release, whose encoder reads titles")
    command.add_argument("--out", type=Path, required=True, help="folder for the results")
    command.add_argument("--weeks", type=int, default=WEEKS, help="length of a window (default: %(default)s)")
    command = commands.add_parser("personal", help="measure what knowing who asks is worth to a search")
    command.add_argument("--interactions", type=Path, required=True, help="what shoppers did")
    command.add_argument("--catalogue", type=Path, required=True, help="what the release was built from")
    command.add_argument("--release", type=Path, required=True, help="folder of a release")
    command.add_argument("--out", type=Path, required=True, help="folder for the results")
    command.add_argument("--weeks", type=int, default=WEEKS, help="length of the window (default: %(default)s)")
    command.add_argument("--wishes", type=int, default=600, help="queries of each kind (default: %(default)s)")
    options = parser.parse_args()
    console, begun = Console(highlight=False, soft_wrap=True), time.monotonic()
    try:
        _evaluate(options, console) if options.command == "evaluate" else _personal(options, console)
        console.print(f"{options.out} after {time.monotonic() - begun:.0f} s")
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("stopped; nothing was written") from None


def _evaluate(options: argparse.Namespace, console: Console) -> None:
    interactions = read(options.interactions)
    texts = title_vectors(options.release, interactions.titles, console)
    record = evaluate(interactions, texts, console=console, weeks=options.weeks)
    write_report(options.out, record)
    console.print(table(record), markup=False)


def _personal(options: argparse.Namespace, console: Console) -> None:
    catalogue = read_catalogue(options.catalogue)
    behaviour = Behaviour.of(read(options.interactions), catalogue)
    record = personal.evaluate_personal(
        options.release, behaviour, catalogue, weeks=options.weeks, most=options.wishes, console=console
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "personal.json").write_text(json.dumps(record, indent=2) + "\n")
    (options.out / "personal.md").write_text(personal.table(record))
    console.print(personal.table(record), markup=False)


if __name__ == "__main__":
    main()
