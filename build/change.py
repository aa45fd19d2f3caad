"""Add, change and delete products of a release while it is served; searches see it within a second.

    python -m build.change --release out/releases/current upsert products.jsonl
    python -m build.change --release out/releases/current delete B07X1 B07X2
    python -m build.change --release out/releases/current status

`upsert` takes whole products in any form that a build reads: those that the release has are replaced, others are added.
The server must see the folder that holds the release, as changes lie beside it. Nothing is restarted.

The release itself stays as it is, and so does what it knows of its shop: models, and how rare words are. A change costs
what has changed since the release, not what the catalogue holds; after some thousands of changes build a new release,
from a catalogue that has them: it begins without any.
"""

import argparse
import secrets
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from build.index import encode, quantised
from build.offline import session
from build.release import PRODUCT_ENCODER
from build.workspace import unfinished
from shelfbridge.catalogue import Product, read_catalogue, summary
from shelfbridge.changes import changes_beside, check, generation, sync, write_record
from shelfbridge.errors import ArtefactError, DataError, ShelfbridgeError
from shelfbridge.release import read_manifest
from shelfbridge.retrieval import CandidateIndex, ProductPairs, ProductStore
from shelfbridge.retrieval.names import Names
from shelfbridge.retrieval.ragged import Ragged, load
from shelfbridge.wordpieces import WordPieces

LIMIT = 10_000
"""Most products that may have changed: every search compares all of them, and every change writes all of them."""


@dataclass(frozen=True)
class Release:
    """What a change reads of a release."""

    folder: Path
    number: str

    @classmethod
    def open(cls, folder: Path) -> "Release":
        """The release in a folder, or that a link points to.

        Raises:
            ArtefactError: it is none.
        """
        folder = folder.resolve()
        return cls(folder, str(read_manifest(folder)["release"]))

    @property
    def changes(self) -> Path:
        """Folder of its changes."""
        return changes_beside(self.folder)

    def part(self, model: str) -> Path:
        """A model's version folder."""
        return self.folder / model / self.number

    def numbers(self) -> Names:
        """The rows of its product ids."""
        return ProductStore.numbers(self.part("postprocess"))

    def pieces(self) -> WordPieces:
        """Its tokeniser."""
        return WordPieces(self.part("preprocess") / "tokenizer.json")


@dataclass
class Later:
    """All that came after a release, by row; `gone` counts on from the release's rows."""

    products: list[Product]
    vectors: list[NDArray[np.float32]]
    tokens: list[NDArray[np.int8]]
    pieces: list[NDArray[Any]]
    gone: set[int]

    @classmethod
    def read(cls, release: Release) -> "Later":
        """What the current generation holds.

        Raises:
            ArtefactError: it is damaged, or was made for another release.
        """
        current = generation(release.changes)
        if current is None:
            return cls([], [], [], [], set())
        folder = release.changes / str(current)
        check(folder, release.folder)
        lines = (folder / "products.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        vectors = CandidateIndex.open(folder).vectors
        return cls(
            products=[Product.model_validate_json(line) for line in lines],
            vectors=list(vectors.fetch(np.arange(len(vectors)))),
            tokens=_rows(folder, "tokens"),
            pieces=_rows(folder, "pieces"),
            gone=set(load(folder / "gone.npy").tolist()),
        )

    def put(self, products: Iterable[Product], ids: Names) -> list[int]:
        """Give products their rows, the ones that they had before if any.

        Returns:
            Rows whose text is new.
        """
        rows = {product.product_id: row for row, product in enumerate(self.products)}
        unread = []
        for product in products:
            if (sold := ids.find(product.product_id)) >= 0:
                self.gone.add(sold)
            row = rows.setdefault(product.product_id, len(self.products))
            if row == len(self.products):
                self.products.append(product)
                unread.append(row)
            elif self.products[row].full_text != product.full_text:
                unread.append(row)
            self.products[row] = product
            self.gone.discard(len(ids) + row)
        return unread

    def remove(self, product_ids: Iterable[str], ids: Names) -> list[str]:
        """Take products out of the catalogue.

        Returns:
            Ids that it does not have.
        """
        rows = {product.product_id: row + len(ids) for row, product in enumerate(self.products)}
        unknown = []
        for product_id in product_ids:
            there = {ids.find(product_id), rows.get(product_id, -1)} - {-1} - self.gone
            if not there:
                unknown.append(product_id)
            self.gone |= there
        return unknown

    def encode(self, release: Release, rows: Sequence[int], console: Console) -> None:
        """Compute everything of rows that comes from their text, as the build did for the release's."""
        texts = [self.products[row].full_text for row in rows]
        pieces, scale = release.pieces(), float(load(release.part("retrieve") / "scale.npy"))
        # One thread, as this runs beside a server
        vectors, tokens = encode(texts, pieces, session(release.folder / PRODUCT_ENCODER, threads=1), console)
        columns: tuple[tuple[list[Any], Iterable[Any]], ...] = (
            (self.vectors, vectors),
            (self.tokens, quantised(tokens, scale)),
            (self.pieces, pieces.pieces(texts)),
        )
        for column, values in columns:
            for row, value in zip(rows, values, strict=True):
                column[row : row + 1] = [value]  # behind the last row, this adds one

    def write(self, folder: Path, base: CandidateIndex) -> None:
        """Write a generation beside a release's index, but for its record."""
        width = self.vectors[0].shape[0] if self.vectors else base.vectors.fetch(np.zeros(1, np.int64)).shape[1]
        vectors = np.array(self.vectors, np.float32).reshape(-1, width)
        CandidateIndex.write(folder, self.products, vectors, self.tokens, known=base.lexicon)
        ProductPairs.write(folder, self.pieces)
        ProductStore.write(folder, self.products)
        np.save(folder / "gone.npy", np.array(sorted(self.gone), np.int64))
        lines = "".join(f"{product.model_dump_json()}\n" for product in self.products)
        (folder / "products.jsonl").write_text(lines, encoding="utf-8")


@dataclass(frozen=True)
class Status:
    """What has changed since a release."""

    generation: str | None
    added: int
    replaced: int
    deleted: int
    """Of the release's own products."""

    def __str__(self) -> str:
        if self.generation is None:
            return "nothing has changed since the release"
        return f"generation {self.generation}: {self.added} added, {self.replaced} replaced, {self.deleted} deleted"


def change(
    folder: Path, *, upsert: Sequence[Product] = (), delete: Sequence[str] = (), console: Console | None = None
) -> list[str]:
    """Change the products of a release; what is served changes in one step, or not at all.

    Changes made at the same time wait for each other.

    Args:
        folder: of the release.
        upsert: products to add, or to replace those of the same id.
        delete: ids of products that are no longer sold.
        console: for the progress.

    Returns:
        Ids to delete that the catalogue does not have.

    Raises:
        ArtefactError: the release or its changes are damaged, or were made by an older build.
        DataError: more than `LIMIT` products would differ from the release's.
    """
    release = Release.open(folder)
    with unfinished(release.changes) as made:
        ids = release.numbers()
        later = Later.read(release)
        before = (list(later.products), set(later.gone))
        unread = later.put(upsert, ids)
        unknown = later.remove(delete, ids)
        if (later.products, later.gone) == before:
            return unknown
        if len(later.products) > LIMIT:
            raise DataError(
                f"{len(later.products)} products differ or differed from the release's, and {LIMIT} may; "
                "build a new release"
            )
        if unread:
            later.encode(release, unread, console or Console(quiet=True))
        retrieve, store = release.part("retrieve"), release.part("postprocess")
        base = CandidateIndex.open(retrieve)
        later.write(made, base)
        write_record(made, release.folder)
        base.with_changes(made)  # what cannot be opened is not published
        ProductStore.open(store).with_changes(made)
        _publish(made)
    return unknown


def status(folder: Path) -> Status:
    """What has changed since a release.

    Raises:
        ArtefactError: the release or its changes are damaged.
    """
    release = Release.open(folder)
    current = generation(release.changes)
    if current is None:
        return Status(None, 0, 0, 0)
    try:
        later, ids = Later.read(release), release.numbers()
    except ArtefactError:
        if generation(release.changes) == current:
            raise
        return status(folder)  # it went while it was read, as there are newer ones
    sold = [p for row, p in enumerate(later.products) if row + len(ids) not in later.gone]
    replaced = sum(ids.find(product.product_id) >= 0 for product in sold)
    gone = sum(row < len(ids) for row in later.gone)
    return Status(str(current), len(sold) - replaced, replaced, gone - replaced)


def _publish(made: Path) -> None:
    """Let `current` point to a complete generation, and delete all but it and the one before.

    A process that is still opening an older one finds it gone, and opens this.
    """
    changes = made.parent
    earlier = generation(changes)
    numbers = (int(path.name.split("-")[0]) for path in changes.iterdir() if path.name[0].isdigit())
    made = made.rename(changes / f"{1 + max(numbers, default=0)}-{secrets.token_hex(3)}")
    link = changes / ".next"
    link.unlink(missing_ok=True)
    link.symlink_to(made.name)
    link.replace(changes / "current")
    sync(changes)
    for old in changes.iterdir():
        if old.name[0].isdigit() and old.name not in (made.name, earlier):
            shutil.rmtree(old, ignore_errors=True)


def _rows(folder: Path, name: str) -> list[NDArray[Any]]:
    rows = Ragged.open(folder, name)
    return [rows[row] for row in range(len(rows))]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m build.change", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--release", type=Path, required=True, help="folder of the release, or out/releases/current")
    commands = parser.add_subparsers(dest="command", required=True)
    upsert = commands.add_parser("upsert", help="add products, or replace those of the same id")
    upsert.add_argument("file", type=Path, help=".jsonl, .csv, .tsv or .parquet, as --catalogue of a build")
    delete = commands.add_parser("delete", help="delete products")
    delete.add_argument("id", nargs="+")
    commands.add_parser("status", help="say what has changed since the release")
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    try:
        if options.command != "status":
            _change(options, console)
        console.print(str(status(options.release)))
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error
    except OSError as error:
        raise SystemExit(f"error: {error}; status says what has changed") from error
    except KeyboardInterrupt:
        raise SystemExit("stopped; status says what has changed") from None


def _change(options: argparse.Namespace, console: Console) -> None:
    begun = time.monotonic()
    if options.command == "upsert":
        catalogue = read_catalogue(options.file)
        if catalogue.rejected:
            console.print(summary(catalogue.rejected), markup=False)
        change(options.release, upsert=catalogue.products, console=console)
    elif unknown := change(options.release, delete=options.id, console=console):
        console.print(f"not in the catalogue: {', '.join(unknown)}", markup=False)
    console.print(f"release {options.release.resolve().name} as asked after {time.monotonic() - begun:.1f} s")


if __name__ == "__main__":
    main()
