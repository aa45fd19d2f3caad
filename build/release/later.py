"""A release and all that was changed of it since, as `build.change` reads and writes it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from build.evaluation.offline import session
from build.release.index import encode, quantised
from build.release.publish import PRODUCT_ENCODER
from shelfbridge.catalogue import Product
from shelfbridge.changes import changes_beside, check, generation, sync
from shelfbridge.release import read_manifest
from shelfbridge.retrieval import CandidateIndex, ProductPairs, ProductStore
from shelfbridge.retrieval.names import Names
from shelfbridge.retrieval.ragged import Ragged, load
from shelfbridge.wordpieces import WordPieces

TIMES = "times.json"
"""File of a generation that says when each product was changed; beside the generations, when it was asked for again
what was so already."""


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
    times: dict[str, float]
    """When a product was changed last, seconds since 1970, by its id."""

    @classmethod
    def read(cls, release: Release) -> "Later":
        """What the current generation holds.

        Raises:
            ArtefactError: it is damaged, or was made for another release.
        """
        current = generation(release.changes)
        if current is None:
            return cls([], [], [], [], set(), {})
        folder = release.changes / str(current)
        check(folder, release.folder)
        lines = (folder / "products.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        vectors, times = CandidateIndex.open(folder).vectors, _times(folder, release)
        again = asked_again(release.changes)
        return cls(
            products=[Product.model_validate_json(line) for line in lines],
            vectors=list(vectors.fetch(np.arange(len(vectors)))),
            tokens=_rows(folder, "tokens"),
            pieces=_rows(folder, "pieces"),
            gone=set(load(folder / "gone.npy").tolist()),
            times=times | {one: max(moment, times.get(one, moment)) for one, moment in again.items()},
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
        (folder / TIMES).write_text(json.dumps(self.times) + "\n", encoding="utf-8")


def asked_again(changes: Path) -> dict[str, float]:
    """When changes that were in force already were asked for once more, seconds since 1970, by the product's id."""
    try:
        found: dict[str, float] = json.loads((changes / TIMES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def write_asked_again(changes: Path, times: Mapping[str, float]) -> None:
    """Write down the times that `asked_again` reads, in one step."""
    made = changes / f".{TIMES}"
    made.write_text(json.dumps({**asked_again(changes), **times}) + "\n", encoding="utf-8")
    sync(made)
    made.replace(changes / TIMES)
    sync(changes)


def _times(folder: Path, release: Release) -> dict[str, float]:
    """When each product of a generation was changed; those of generations that do not say so, when it was made."""
    try:
        found: dict[str, float] = json.loads((folder / TIMES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        ids = release.numbers()
        lines = (folder / "products.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        added = [Product.model_validate_json(line).product_id for line in lines]
        gone = [ids[row] for row in load(folder / "gone.npy").tolist() if row < len(ids)]
        return dict.fromkeys([*added, *gone], folder.stat().st_mtime)
    return found


def _rows(folder: Path, name: str) -> list[NDArray[Any]]:
    rows = Ragged.open(folder, name)
    return [rows[row] for row in range(len(rows))]
