"""What the build and its frontier are told on the command line: the shop's files, a preset, and what changes of it."""

import argparse
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from build.foreign import ForeignPairs, read_pairs
from build.recommend import interactions
from build.recommend.learn import Behaviour, weeks_for
from build.settings import PRESETS, Settings
from build.splits import with_all_splits
from build.stages import Shop
from build.workspace import tree_digest
from shelfbridge.catalogue import Catalogue, Judgments, Rejection, read_catalogue, read_judgments, summary
from shelfbridge.errors import DataError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of both programs."""
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
    parser.add_argument(
        "--interactions", type=Path, metavar="FILE", help="what shoppers bought: user, product_id, time; for a shelf"
    )
    parser.add_argument(
        "--weeks",
        type=int,
        choices=range(1, 53),
        metavar="N",
        help="longest window of time that a shelf learns from (default: that of the preset)",
    )
    parser.add_argument(
        "--precision",
        choices=("int8", "fp32"),
        help="of what the CPU serves; int8 is then refused where it costs too much (default: int8 where it passes)",
    )
    parser.add_argument(
        "--no-students", action="store_true", help="serve the fine-tuned networks themselves, not smaller ones"
    )
    parser.add_argument(
        "--vectors",
        default="faiss",
        metavar="PLACE",
        help="of the products: faiss, files beside the index; milvus, at SHELFBRIDGE_MILVUS_URI; or its address "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--budget", type=float, metavar="X", help="nDCG@10 that compression may cost (default: that of the preset)"
    )


def read_shop(options: argparse.Namespace, console: Console) -> Shop:
    """What a build starts from.

    Raises:
        DataError: a file cannot be used.
    """
    catalogue, judgments = read(options.catalogue, options.judgments, console)
    foreign = read_pairs(options.pairs) if options.pairs else ForeignPairs()
    if options.pairs:
        report(console, options.pairs, len(foreign.rows), "pairs", foreign.rejected)
    made = Shop(catalogue, judgments, foreign, data_digest(options), chosen(options), console)
    return replace(made, behaviour=_behaviour(options.interactions, made)) if options.interactions else made


def _behaviour(file: Path, shop: Shop) -> Behaviour:
    found = Behaviour.of(interactions.read(file), shop.catalogue)
    weeks_for(found.interactions, shop.settings.shelf.weeks)  # too few are refused now, not after the training
    shop.console.print(f"{file.name}: {len(found.interactions):,} interactions", highlight=False)
    if found.unknown:
        shop.console.print(
            f"{found.unknown:,} more are with products that the catalogue does not have", highlight=False
        )
    return found


def chosen(options: argparse.Namespace) -> Settings:
    """The preset with what the command line changes of it."""
    settings = PRESETS[options.preset]
    compression = settings.compression
    if options.precision:
        compression = replace(compression, precision=options.precision, insisted=True)
    if options.budget is not None:
        compression = replace(compression, budget=options.budget)
    if options.no_students:
        settings = replace(settings, encoder_student=None, cross_encoder_student=None)
    if options.weeks:
        settings = replace(settings, shelf=replace(settings.shelf, weeks=options.weeks))
    base = options.encoder or settings.base
    return replace(settings, base=base, teacher=options.ranker, compression=compression, vectors=options.vectors)


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
    judgments, said = with_all_splits(judgments)
    for line in said:
        console.print(line, highlight=False, soft_wrap=True)
    for split in ("train", "dev"):
        if not judgments.of(split).rows:
            raise DataError(f"{judgments_file}: no judgment in split {split!r}; training needs train and dev queries")
    return catalogue, judgments


def report(console: Console, file: Path, count: int, what: str, rejected: tuple[Rejection, ...]) -> None:
    """One line on what was read, and a few on what was left out."""
    console.print(f"{file.name}: {count:,} {what}", highlight=False)
    if rejected:
        console.print(summary(rejected), highlight=False, markup=False)
