"""From a catalogue and judgments to a release that Triton serves.

    python -m build --catalogue products.jsonl --judgments judgments.tsv --out out

The catalogue is a .csv, .tsv, .jsonl or .parquet file; it needs product_id and title, and may have brand, color,
bullet_points, description, category ("Sports > Tents"), price, stock, rating and rating_count. Judgments need
query_id, query, product_id and label (E exact, S substitute, C complement, I irrelevant), and may have split
(train, dev, test). The figures at the end are those of the test split, or of dev where there is none.

Stages: encoder -> its ONNX graph -> index -> cross-encoder -> ranker -> release -> evaluation. Each skips what is
unchanged, so a second run takes seconds and an interrupted one goes on where it stopped.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from build import cross_encoder, encoder, evaluate, export, index, ranker, release
from build.foreign import ForeignPairs, read_pairs
from build.settings import PRESETS, Settings
from build.tokenizer import write_tokenizer
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
    options = parser.parse_args()
    console = Console()
    settings = PRESETS[options.preset]
    settings = replace(settings, base=options.encoder or settings.base)
    settings = replace(settings, teacher=options.ranker)
    try:
        catalogue, judgments = read(options.catalogue, options.judgments, console)
        foreign = read_pairs(options.pairs) if options.pairs else ForeignPairs()
        if options.pairs:
            report(console, options.pairs, len(foreign.rows), "pairs", foreign.rejected)
        made = build(
            options.out, catalogue, judgments, settings, foreign=foreign, data=data_digest(options), console=console
        )
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on where this one ended") from None
    console.print(f"release: {made}")


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


def _local(base: str) -> Path | str:
    """A base model's folder, which counts by its content, or its Hugging Face id."""
    return Path(base) if Path(base).is_dir() else base


def build(
    out: Path,
    catalogue: Catalogue,
    judgments: Judgments,
    settings: Settings,
    *,
    foreign: ForeignPairs,
    data: str,
    console: Console,
) -> Path:
    """Run all stages and publish.

    Returns:
        Folder of the release.
    """
    space = Workspace(out / "stages", console)
    shop = {"catalogue": catalogue, "judgments": judgments, "settings": settings, "console": console}

    base, teacher_base = (_local(name) for name in (settings.base, settings.teacher or settings.base))
    words = space.stage("tokenizer", partial(write_tokenizer, settings=settings), base=base, teacher=teacher_base)
    pieces = space.stage(
        "pieces", partial(index.write_pieces, catalogue=catalogue, tokenizer=words), data=data, tokenizer=words
    )
    store = space.stage("store", partial(index.write_store, catalogue=catalogue), data=data)
    trained = space.stage(
        "encoder",
        partial(encoder.train, tokenizer=words, **shop),
        data=data,
        tokenizer=words,
        base=base,
        of=settings.encoder,
    )
    graph = space.stage("encoder-onnx", partial(export.export_encoder, trained=trained), trained=trained)
    indexed = space.stage(
        "index",
        partial(index.write_index, catalogue=catalogue, tokenizer=words, graph=graph, console=console),
        data=data,
        graph=graph,
    )
    teacher = space.stage(
        "cross-encoder",
        partial(cross_encoder.train, tokenizer=words, pieces=pieces, foreign=foreign.rows, **shop),
        data=data,
        pieces=pieces,
        foreign=foreign.rows,
        base=teacher_base,
        of=settings.cross_encoder,
    )
    head = space.stage(
        "ranker",
        partial(
            ranker.train, tokenizer=words, graph=graph, index=indexed, pieces=pieces, cross_encoder=teacher, **shop
        ),
        index=indexed,
        teacher=teacher,
        of=settings.ranker,
    )
    head_graph = space.stage("ranker-onnx", partial(export.export_ranker, trained=head), trained=head)
    blend = float(np.load(head / "blend.npy"))
    teacher_graph = space.stage(
        "cross-encoder-onnx",
        partial(export.export_cross_encoder, trained=teacher, weight=blend),
        trained=teacher,
        weight=blend,
    )
    made = release.publish(
        out / "releases",
        parts={
            "preprocess": words,
            "encoder": graph,
            "retrieve": indexed,
            "ranker": head_graph,
            "shortlist": pieces,
            "cross_encoder": teacher_graph,
            "postprocess": store,
        },
        about={
            "base": settings.base,
            "teacher": settings.teacher or settings.base,
            "data": data,
            "pairs": len(foreign.rows),
        },
    )
    split: Split = "test" if judgments.of("test").rows else "dev"
    measured = space.stage(
        "evaluation",
        partial(
            evaluate.evaluate, release=made, catalogue=catalogue, judgments=judgments, split=split, console=console
        ),
        data=data,
        release=made / "manifest.json",
    )
    console.print((measured / "evaluation.md").read_text(), highlight=False)
    return made


if __name__ == "__main__":
    main()
