"""Products and judgments: reading, checking, rendering to text.

A catalogue is a CSV, TSV, JSON-lines or Parquet file. Only `product_id` and `title` are needed. A bad row is
reported by line and reason and left out; the rest is used.
"""

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from hashlib import sha1
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from shelfbridge.errors import DataError, InvalidQuery
from shelfbridge.request import explain
from shelfbridge.text import check_query, normalise

Split = Literal["train", "dev", "test"]
_UNDECODED = re.compile("[\udc80-\udcff]")
_NOT_UTF8 = "not UTF-8; save the file with that encoding"


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


def _text(value: object) -> object:
    value = _blank_to_none(value)
    if isinstance(value, bytes):  # as some programs write strings to Parquet
        value = value.decode(errors="replace")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    return "" if value is None else normalise(value) if isinstance(value, str) else value


def _path(value: object) -> object:
    if isinstance(value, str):
        value = value.split(">")
    if value is None or isinstance(value, list | tuple):
        return tuple(part for part in map(_text, value or ()) if part != "")
    return value


def _id(value: object) -> object:
    """An id comes back as it was given: whole numbers are written out, nothing else is changed within it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else value


def _filled(value: str) -> str:
    if not value:
        raise ValueError("is blank")
    return value


def _askable(value: str) -> str:
    """A query that a server would answer: one that it refuses would end a build after its trainings."""
    try:
        return check_query(value.encode())
    except InvalidQuery as error:
        raise ValueError(str(error).removeprefix("query ")) from error


Text = Annotated[str, BeforeValidator(_text)]
Filled = Annotated[Text, AfterValidator(_filled)]
Id = Annotated[
    str, BeforeValidator(_id), AfterValidator(_filled), StringConstraints(max_length=256, pattern=r"^\P{Cc}*$")
]
Amount = Annotated[float, Field(ge=0, lt=1e12, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=10**12)]


class Product(BaseModel):
    """One product. `category` is a path from the department down ("Sports > Camping > Tents" in a CSV)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    product_id: Id
    title: Filled
    brand: Text = ""
    color: Text = ""
    bullet_points: Text = ""
    description: Text = ""
    category: Annotated[tuple[str, ...], BeforeValidator(_path)] = ()
    price: Annotated[Amount | None, BeforeValidator(_blank_to_none)] = None
    stock: Annotated[Count | None, BeforeValidator(_blank_to_none)] = None
    rating: Annotated[Annotated[Amount, Field(le=5)] | None, BeforeValidator(_blank_to_none)] = None
    rating_count: Annotated[Count | None, BeforeValidator(_blank_to_none)] = None

    @property
    def short_text(self) -> str:
        """Its name: title, then brand and colour where the title does not name them."""
        title = self.title.casefold()
        more = (self.brand, self.color)
        return " ".join([self.title, *(name for name in more if name.casefold() not in title)])

    @property
    def full_text(self) -> str:
        """Everything written of it, the telling parts first: what the models and the lexical index read."""
        parts = (self.short_text, " ".join(self.category), self.bullet_points, self.description)
        return " ".join(part for part in parts if part)


class Judgment(BaseModel):
    """How well one product answers one query."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    query_id: Id
    query: Annotated[Filled, AfterValidator(_askable)]
    product_id: Id
    label: Label
    split: Split


@dataclass(frozen=True)
class Rejection:
    """A row left out: the line it begins on (1 is the first line; of Parquet, the first row) and why."""

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

    @cached_property
    def queries(self) -> dict[str, str]:
        """Query text by query id, in order of first appearance."""
        return {row.query_id: row.query for row in self.rows}

    @cached_property
    def by_query(self) -> dict[str, dict[str, Label]]:
        """Label by product id by query id."""
        table: dict[str, dict[str, Label]] = {}
        for row in self.rows:
            table.setdefault(row.query_id, {})[row.product_id] = row.label
        return table


def split_of(query: str) -> Split:
    """A split for a query whose file names none: eight in ten train, one dev, one test, by hash of its text."""
    bucket = sha1(normalise(query).casefold().encode()).digest()[0] % 10
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
    splits: dict[str, Split] = {}
    texts: dict[str, str] = {}
    for line, row in read_rows(Path(path), needed=("query_id", "query", "product_id", "label")):
        if isinstance(row, str):
            rejected.append(Rejection(line, row))
            continue
        try:
            split = _blank_to_none(row.get("split")) or split_of(str(row.get("query")))
            judgment = Judgment.model_validate({**row, "split": split})
        except ValidationError as error:
            rejected.append(Rejection(line, explain(error)))
            continue
        if judgment.product_id not in catalogue.rows_of:
            rejected.append(Rejection(line, f"product_id: {judgment.product_id!r} is not in the catalogue"))
            continue
        text = texts.setdefault(judgment.query_id, judgment.query)
        if judgment.query.casefold() != text.casefold():
            rejected.append(Rejection(line, f"query_id: {judgment.query_id!r} is that of another query above"))
            continue
        first = splits.setdefault(judgment.query.casefold(), judgment.split)
        if judgment.split != first:
            rejected.append(Rejection(line, f"split: the query is in {first} above; give a query's rows one split"))
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
    count = "1 row was" if len(rows) == 1 else f"{len(rows)} rows were"
    return "\n".join([f"{count} left out:", *shown, *more])


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
    try:
        yield from reader(path, needed)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); see to the file and its permissions") from error


def _need(path: Path, columns: Iterable[str], needed: tuple[str, ...]) -> None:
    missing = [name for name in needed if name not in set(columns)]
    if missing:
        raise DataError(f"{path}: column {', '.join(missing)} is missing; found {', '.join(columns) or 'none'}")


def _read_csv(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    csv.field_size_limit(1 << 24)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        # Strict, else a quote that is never closed takes the rest of the file for one field
        reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
        except csv.Error as error:
            raise DataError(f"{path}: the header is not readable as CSV ({error}); export the file again") from error
        if any(map(_UNDECODED.search, header)):
            raise DataError(f"{path}: the header is {_NOT_UTF8}")
        _need(path, header, needed)
        while True:
            line = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, f"not readable as CSV: {error}"
                continue
            if len(fields) > len(header):
                yield line, f"{len(fields)} fields, the header has {len(header)}"
            elif any(map(_UNDECODED.search, fields)):
                yield line, _NOT_UTF8
            elif fields:
                yield line, dict(zip(header, fields, strict=False))


def _read_jsonl(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            if _UNDECODED.search(text):
                yield line, _NOT_UTF8
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
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
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: not a whole Parquet file ({error}); copy or export it again") from error
