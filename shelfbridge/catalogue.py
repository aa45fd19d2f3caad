"""Products and judgments: reading, checking, rendering to text.

A catalogue is a CSV, TSV, JSON-lines or Parquet file. Only `product_id` and `title` are needed. A bad row is
reported by line and reason and left out; the rest is used.
"""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha1
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from shelfbridge.errors import DataError
from shelfbridge.request import explain
from shelfbridge.text import normalise

Split = Literal["train", "dev", "test"]


class Label(StrEnum):
    """How well a product answers a query: exact, substitute, complement, irrelevant (arXiv:2206.06588)."""

    EXACT = "E"
    SUBSTITUTE = "S"
    COMPLEMENT = "C"
    IRRELEVANT = "I"

    @property
    def gain(self) -> float:
        """Gain in nDCG, the data set's own: 1, 0.1, 0.01, 0."""
        return {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}[self.value]


def _blank_to_none(value: object) -> object:
    if isinstance(value, str) and not value.strip():
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def _path(value: object) -> object:
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(">") if part.strip())
    return tuple(value) if isinstance(value, list) else value


def _text(value: object) -> object:
    value = _blank_to_none(value)
    return "" if value is None else normalise(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_text)]
Filled = Annotated[str, BeforeValidator(_text), StringConstraints(min_length=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Product(BaseModel):
    """One product. `category` is a path from the department down ("Sports > Camping > Tents" in a CSV)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    product_id: Annotated[Filled, StringConstraints(max_length=256)]
    title: Filled
    brand: Text = ""
    color: Text = ""
    bullet_points: Text = ""
    description: Text = ""
    category: Annotated[tuple[str, ...], BeforeValidator(_path)] = ()
    price: Annotated[Amount | None, BeforeValidator(_blank_to_none)] = None
    stock: Annotated[Annotated[int, Field(ge=0)] | None, BeforeValidator(_blank_to_none)] = None
    rating: Annotated[Annotated[float, Field(ge=0, le=5)] | None, BeforeValidator(_blank_to_none)] = None
    rating_count: Annotated[Annotated[int, Field(ge=0)] | None, BeforeValidator(_blank_to_none)] = None

    @property
    def short_text(self) -> str:
        """What the encoder reads: title, then brand and colour where the title does not name them."""
        title = self.title.casefold()
        more = (self.brand, self.color)
        return " ".join([self.title, *(name for name in more if name.casefold() not in title)])

    @property
    def pair_text(self) -> str:
        """What the cross-encoder reads: as `short_text`, then the bullet points."""
        return f"{self.short_text} {self.bullet_points}".strip()

    @property
    def full_text(self) -> str:
        """Everything written of it: what the lexical index reads."""
        parts = (self.short_text, " ".join(self.category), self.bullet_points, self.description)
        return " ".join(part for part in parts if part)


class Judgment(BaseModel):
    """How well one product answers one query."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    query_id: Annotated[str, Field(min_length=1), BeforeValidator(lambda value: str(value).strip())]
    query: Filled
    product_id: Filled
    label: Label
    split: Split


@dataclass(frozen=True)
class Rejection:
    """A row left out: where it stands in its file (1 is the first line; of Parquet, the first row) and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class Catalogue:
    """Products in file order, and what was left out."""

    products: tuple[Product, ...]
    rejected: tuple[Rejection, ...] = ()
    rows_of: Mapping[str, int] = field(init=False, repr=False)
    """Row of each product id."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows_of", {product.product_id: row for row, product in enumerate(self.products)})


@dataclass(frozen=True)
class Judgments:
    """Judgments in file order, and what was left out."""

    rows: tuple[Judgment, ...]
    rejected: tuple[Rejection, ...] = ()

    def of(self, split: Split) -> "Judgments":
        """Those of one split."""
        return Judgments(tuple(row for row in self.rows if row.split == split))

    @property
    def queries(self) -> dict[str, str]:
        """Query text by query id, in order of first appearance."""
        return {row.query_id: row.query for row in self.rows}

    @property
    def by_query(self) -> dict[str, dict[str, Label]]:
        """Label by product id by query id."""
        table: dict[str, dict[str, Label]] = {}
        for row in self.rows:
            table.setdefault(row.query_id, {})[row.product_id] = row.label
        return table


def split_of(query: str) -> Split:
    """A split for a query whose file names none: eight in ten train, one dev, one test, by hash of its text."""
    bucket = sha1(query.encode()).digest()[0] % 10
    return "dev" if bucket == 8 else "test" if bucket == 9 else "train"


def read_catalogue(path: Path | str) -> Catalogue:
    """Products of a file, each checked.

    Raises:
        DataError: the file is missing, unreadable, without the needed columns, or without one good row.
    """
    products: dict[str, Product] = {}
    rejected: list[Rejection] = []
    for line, row in read_rows(Path(path), needed=("product_id", "title")):
        if isinstance(row, str):
            rejected.append(Rejection(line, row))
            continue
        try:
            product = Product.model_validate(row)
        except ValidationError as error:
            rejected.append(Rejection(line, explain(error)))
            continue
        if product.product_id in products:
            rejected.append(Rejection(line, f"product_id: {product.product_id!r} was given before"))
            continue
        products[product.product_id] = product
    if not products:
        raise DataError(f"{path}: no usable product. {summary(rejected)}")
    return Catalogue(tuple(products.values()), tuple(rejected))


def read_judgments(path: Path | str, catalogue: Catalogue) -> Judgments:
    """Judgments of a file, each checked and held against the catalogue.

    Raises:
        DataError: the file is missing, unreadable, without the needed columns, or without one good row.
    """
    good: list[Judgment] = []
    rejected: list[Rejection] = []
    for line, row in read_rows(Path(path), needed=("query_id", "query", "product_id", "label")):
        if isinstance(row, str):
            rejected.append(Rejection(line, row))
            continue
        try:
            judgment = Judgment.model_validate({"split": split_of(str(row.get("query"))), **row})
        except ValidationError as error:
            rejected.append(Rejection(line, explain(error)))
            continue
        if judgment.product_id not in catalogue.rows_of:
            rejected.append(Rejection(line, f"product_id: {judgment.product_id!r} is not in the catalogue"))
            continue
        good.append(judgment)
    if not good:
        raise DataError(f"{path}: no usable judgment. {summary(rejected)}")
    return Judgments(tuple(good), tuple(rejected))


def summary(rejected: Iterable[Rejection], most: int = 5) -> str:
    """What was left out, in a line or a few: the count, then the first ones with their reasons."""
    rows = tuple(rejected)
    if not rows:
        return "No row was left out."
    shown = [f"  line {row.line}: {row.reason}" for row in rows[:most]]
    more = [f"  and {len(rows) - most} more"] if len(rows) > most else []
    return "\n".join([f"{len(rows)} rows were left out:", *shown, *more])


def read_rows(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Rows of a CSV, TSV, JSON-lines or Parquet file with their line numbers; a string instead of a row is why
    that row cannot be read.

    Raises:
        DataError: the file is missing, unreadable, of another kind, or lacks a needed column.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the path of a .csv, .tsv, .jsonl or .parquet file")
    readers = {".csv": _read_csv, ".tsv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: {path.suffix or 'a file without ending'} is not read; use {', '.join(readers)}")
    return reader(path, needed)


def _need(path: Path, columns: Iterable[str], needed: tuple[str, ...]) -> None:
    missing = [name for name in needed if name not in set(columns)]
    if missing:
        raise DataError(f"{path}: column {', '.join(missing)} is missing; found {', '.join(columns) or 'none'}")


def _read_csv(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    csv.field_size_limit(1 << 24)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        _need(path, reader.fieldnames or (), needed)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, f"not readable as CSV: {error}"
                continue
            if None in row:
                yield reader.line_num, "more fields than the header has"
            else:
                yield reader.line_num, row


def _read_jsonl(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except ValueError as error:
                yield line, f"not JSON: {error}"
                continue
            yield line, row if isinstance(row, dict) else "not a JSON object"


def _read_parquet(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _need(path, file.schema_arrow.names, needed)
            line = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    line += 1
                    yield line, row
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a whole Parquet file ({error}); copy or export it again") from error
