"""What the build and its frontier are told on the command line: the shop's files, a preset, and what changes of it.

Everything that can be told without reading a file to its end is told first: `given_by` takes milliseconds.
"""

import argparse
import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from build.data.foreign import ForeignPairs, read_pairs
from build.data.splits import with_all_splits
from build.settings import PRESETS, Given, given
from build.shop import Shop
from build.workspace import tree_digest
from shelfbridge.catalogue import Catalogue, Judgments, Rejection, read_catalogue, read_judgments, read_rows, summary
from shelfbridge.errors import DataError, SettingsError

if TYPE_CHECKING:
    from build.shelf.learn import Behaviour

COLUMNS = {
    "catalogue": ("product_id", "title"),
    "judgments": ("query_id", "query", "product_id", "label"),
    "pairs": ("query", "name", "label"),
}
"""That a file needs, by what it is."""
MILVUS_URI = "SHELFBRIDGE_MILVUS_URI"
"""As in `shelfbridge.retrieval.vectors`, whose import takes a second."""
TABLES = (".parquet", ".csv", ".jsonl")
"""Kinds of files of interactions."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of both programs."""
    parser.add_argument("--catalogue", type=Path, metavar="FILE", help="the products")
    parser.add_argument("--judgments", type=Path, metavar="FILE", help="judged queries")
    parser.add_argument("--out", type=Path, metavar="DIR", help="stage results and releases go here")
    parser.add_argument("--preset", choices=PRESETS, default="full", help="how long to train (default: %(default)s)")
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="a .toml file of what differs from the preset, in the form of those in build/presets; "
        "it may name the files of the shop too. Variables SHELFBRIDGE_BUILD_… win over it, flags over both",
    )
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
        metavar="N",
        help="longest window of time that a shelf learns from, 1 to 52 (default: that of the preset)",
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
        metavar="PLACE",
        help="of the products: faiss, files beside the index; milvus, at SHELFBRIDGE_MILVUS_URI; or its address "
        "(default: faiss)",
    )
    parser.add_argument(
        "--budget", type=float, metavar="X", help="nDCG@10 that compression may cost (default: that of the preset)"
    )


def chosen(options: argparse.Namespace) -> Given:
    """The preset with what a file, the environment and the command line change of it.

    Raises:
        SettingsError: a setting cannot be used.
    """
    flat = {
        name: getattr(options, name)
        for name in ("catalogue", "judgments", "out", "pairs", "interactions", "vectors")
        if getattr(options, name) is not None
    }
    flags: dict[str, Any] = dict(flat)
    flags |= {"base": options.encoder} if options.encoder else {}
    flags |= {"teacher": options.ranker} if options.ranker else {}
    flags |= {"shelf": {"weeks": options.weeks}} if options.weeks is not None else {}
    flags |= {"encoder_student": None, "cross_encoder_student": None} if options.no_students else {}
    insisted = True if options.precision else None
    compression = {"precision": options.precision, "insisted": insisted, "budget": options.budget}
    flags["compression"] = {name: value for name, value in compression.items() if value is not None}
    return given(options.preset, options.settings, flags)


def given_by(options: argparse.Namespace) -> Given:
    """What a build is given, with all checks that need no file read to its end.

    Raises:
        DataError: a file is not there, of a kind that is not read, or without a needed column.
        SettingsError: a setting cannot be used.
    """
    found = chosen(options)
    for name, needed in COLUMNS.items():
        if (path := getattr(found, name)) is not None:
            next(read_rows(path, needed), None)
    if found.interactions is not None:
        check_table(found.interactions)
    for base in filter(None, (found.base, found.teacher)):
        if base.startswith((".", "/", "~")) and not (Path(base) / "config.json").is_file():
            raise SettingsError(f"{base}: no folder of a base model, as it has no config.json")
    found = found.model_copy(update={"vectors": place_of(found.vectors)})
    if not (there := _nearest(found.out)).is_dir():
        raise SettingsError(f"{there} is a file; --out takes a folder")
    return found


def place_of(vectors: str) -> str:
    """Where the products' vectors go: `faiss`, or the address of Milvus, which counts as a setting wherever it is from.

    Raises:
        SettingsError: that is no place, or Milvus has no client or no address here.
    """
    place = vectors if vectors != "milvus" else os.environ.get(MILVUS_URI, "")
    if vectors == "milvus" and not place:
        raise SettingsError(f"vectors are to go to Milvus, but {MILVUS_URI} is not set; set it to its address")
    if place == "faiss":
        return place
    if "://" not in place and not place.endswith(".db"):
        raise SettingsError(f"{place!r} is no place for vectors; use faiss, milvus, or an address as http://host:19530")
    if not find_spec("pymilvus"):
        raise SettingsError(f"vectors in {place} need the client of Milvus; pip install pymilvus")
    return place


def check_writable(out: Path) -> None:
    """Refuse a folder in which nothing can be made, now and not after the first training.

    Raises:
        SettingsError: it, or the nearest folder above it that is there, is not to be written to.
    """
    if not os.access(there := _nearest(out), os.W_OK | os.X_OK):
        raise SettingsError(f"{there} is not to be written to by this user; --out takes a folder that is")


def _nearest(path: Path) -> Path:
    """What is there of a path: itself, or what is nearest above it."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())


def check_table(path: Path) -> None:
    """Refuse what cannot be a file of interactions.

    Raises:
        DataError: it is not there, or of another kind.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the path of a {', '.join(TABLES)} file of interactions")
    if path.suffix not in TABLES:
        raise DataError(f"{path}: not a kind of file that is read here; give {', '.join(TABLES)}")


def read_shop(found: Given, console: Console) -> Shop:
    """What a build starts from.

    Raises:
        DataError: a file cannot be used.
    """
    written = found.catalogue.stat().st_mtime
    catalogue, judgments = read(found.catalogue, found.judgments, console)
    foreign = read_pairs(found.pairs) if found.pairs else ForeignPairs()
    if found.pairs:
        report(console, found.pairs, len(foreign.rows), "pairs", foreign.rejected)
    data = tree_digest(found.catalogue) + tree_digest(found.judgments)
    made = Shop(catalogue, judgments, foreign, data, found.settings, console, written=written)
    return replace(made, behaviour=_behaviour(found.interactions, made)) if found.interactions else made


def _behaviour(file: Path, shop: Shop) -> "Behaviour":
    from build.shelf import interactions  # these take seconds to import
    from build.shelf.learn import Behaviour, weeks_for

    found = Behaviour.of(interactions.read(file), shop.catalogue)
    weeks_for(found.interactions, shop.settings.shelf.weeks)  # too few are refused now, not after the training
    shop.console.print(f"{file.name}: {len(found.interactions):,} interactions", highlight=False)
    if found.unknown:
        shop.console.print(
            f"{found.unknown:,} more are with products that the catalogue does not have", highlight=False
        )
    return found


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
            raise DataError(
                f"{judgments_file}: no judgment in split {split!r}, and a build learns from train and chooses by dev; "
                "judge more queries, or leave the column split out to have them parted by a hash"
            )
    return catalogue, judgments


def report(console: Console, file: Path, count: int, what: str, rejected: tuple[Rejection, ...]) -> None:
    """One line on what was read, and a few on what was left out."""
    console.print(f"{file.name}: {count:,} {what}", highlight=False)
    if rejected:
        console.print(summary(rejected), highlight=False, markup=False)
