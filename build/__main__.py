"""From a catalogue and judgments to a release that Triton serves.

    python -m build --catalogue products.jsonl --judgments judgments.tsv --out out

The catalogue is a .csv, .tsv, .jsonl or .parquet file; it needs product_id and title, and may have brand, color,
bullet_points, description, category ("Sports > Tents"), price, stock, rating and rating_count. Judgments need
query_id, query, product_id and label (E exact, S substitute, C complement, I irrelevant), and may have split
(train, dev, test). The figures at the end are those of the test split, or of dev where there is none.

Stages: encoder -> its ONNX graph -> index -> cross-encoder -> ranker -> students -> int8 and fp16 -> gate -> release ->
evaluation. Each skips what is unchanged, so a second run takes seconds and an interrupted one goes on where it stopped.
The gate refuses a release that loses more nDCG@10 by its compression than the budget.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from build import evaluate
from build.foreign import ForeignPairs, read_pairs
from build.pipeline import Shop, build
from build.settings import PRESETS, Settings
from build.workspace import Workspace, tree_digest
from shelfbridge.catalogue import Catalogue, Judgments, Rejection, Split, read_catalogue, read_judgments, summary
from shelfbridge.errors import DataError, ShelfbridgeError


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m build", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--catalogue", type=Path, required=True, metavar="FILE")
    parser.add_argument("--judgments", type=Path, required=True, metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="stage results and releases go here")
    parser.add_argument("--preset", choices=PRESETS, default="full", help="how long to train (default: %(default)s)")
    parser.add_argument(
        "--encoder", metavar="ID-OR-FOLDER", help="base model: a Hugging Face id, or a folder with its files"
    )
    parser.add_argument(
        "--ranker", metavar="ID-OR-FOLDER", help="base model of the cross-encoder (default: as --encoder)"
    )
    parser.add_argument(
        "--pairs", type=Path, metavar="FILE", help="more for the cross-encoder: query, name, label of another shop"
    )
    parser.add_argument("--precision", choices=("int8", "fp32"), help="of what the CPU serves (default: int8)")
    parser.add_argument(
        "--no-students", action="store_true", help="serve the fine-tuned networks themselves, not smaller ones"
    )
    parser.add_argument(
        "--budget", type=float, metavar="X", help="nDCG@10 that compression may cost (default: that of the preset)"
    )
    options = parser.parse_args()
    console = Console()
    settings = chosen(options)
    try:
        catalogue, judgments = read(options.catalogue, options.judgments, console)
        foreign = read_pairs(options.pairs) if options.pairs else ForeignPairs()
        if options.pairs:
            report(console, options.pairs, len(foreign.rows), "pairs", foreign.rejected)
        shop = Shop(catalogue, judgments, foreign, data_digest(options), settings, console)
        made = build(options.out, shop)
        console.print(measured(options.out, shop, made), highlight=False)
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on where this one ended") from None
    console.print(f"release: {made}")


def chosen(options: argparse.Namespace) -> Settings:
    """The preset with what the command line changes of it."""
    settings = PRESETS[options.preset]
    compression = settings.compression
    if options.precision:
        compression = replace(compression, precision=options.precision)
    if options.budget is not None:
        compression = replace(compression, budget=options.budget)
    if options.no_students:
        settings = replace(settings, encoder_student=None, cross_encoder_student=None)
    base = options.encoder or settings.base
    return replace(settings, base=base, teacher=options.ranker, compression=compression)


def data_digest(options: argparse.Namespace) -> str:
    """Identity of the data files."""
    return tree_digest(options.catalogue) + tree_digest(options.judgments)


def read(catalogue_file: Path, judgments_file: Path, console: Console) -> tuple[Catalogue, Judgments]:
    """Read both files and say what was left out.

    Raises:
        DataError: a file cannot be used, or no query is left to train on or to choose by.
    """
    catalogue = read_catalogue(catalogue_file)
    report(console, catalogue_file, len(catalogue.products), "products", catalogue.rejected)
    judgments = read_judgments(judgments_file, catalogue)
    report(console, judgments_file, len(judgments.rows), "judgments", judgments.rejected)
    for split in ("train", "dev"):
        if not judgments.of(split).rows:
            raise DataError(f"{judgments_file}: no judgment in split {split!r}; training needs train and dev queries")
    return catalogue, judgments


def report(console: Console, file: Path, count: int, what: str, rejected: tuple[Rejection, ...]) -> None:
    """One line on what was read, and a few on what was left out."""
    console.print(f"{file.name}: {count:,} {what}", highlight=False)
    if rejected:
        console.print(summary(rejected), highlight=False, markup=False)


def measured(out: Path, shop: Shop, made: Path) -> str:
    """The release's figures on the test split, or on dev where there is none, as a table."""
    split: Split = "test" if shop.judgments.of("test").rows else "dev"
    folder = Workspace(out / "stages", shop.console).stage(
        "evaluation",
        partial(evaluate.evaluate, release=made, split=split, console=shop.console, **shop.known),
        data=shop.data,
        release=made / "manifest.json",
    )
    return (folder / "evaluation.md").read_text()


if __name__ == "__main__":
    main()
