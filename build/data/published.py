"""Published data sets under our own types: Shopping Queries (ESCI) and WANDS.

Both are read in the format they are published in, so that figures can be compared with those of others.
"""

import csv
import os
import shutil
import tomllib
import urllib.request
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import file_digest, sha1
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from shelfbridge.catalogue import Catalogue, Judgment, Judgments, Label, Product, Rejection, Split, split_of, summary
from shelfbridge.errors import DataError
from shelfbridge.request import explain

Row = TypeVar("Row", Product, Judgment)
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Published:
    """Where a data set is published, as `published.toml` has it."""

    address: str
    files: Mapping[str, str]


PUBLISHED = {
    name: Published(**known)
    for name, known in tomllib.loads(Path(__file__).with_name("published.toml").read_text()).items()
}
_ESCI_COLUMNS = {
    "product_id": "product_id",
    "title": "product_title",
    "brand": "product_brand",
    "color": "product_color",
    "bullet_points": "product_bullet_point",
    "description": "product_description",
}
_WANDS_LABELS = {"Exact": Label.EXACT, "Partial": Label.SUBSTITUTE, "Irrelevant": Label.IRRELEVANT}


def esci(
    folder: Path | str, locale: str = "us", small_version: bool = True, allow_other: bool = False
) -> tuple[Catalogue, Judgments]:
    """Amazon's Shopping Queries data set (Reddy et al. 2022, arXiv:2206.06588; Apache-2.0).

    One in ten queries of the published train split, by hash of its text, becomes dev; test stays as published. Only
    products that are judged in the chosen locale and version are in the catalogue. `allow_other` takes files that are
    not the published ones to the byte.

    Raises:
        DataError: a file is missing, not the published one, unreadable, or without one usable row.
    """
    examples, products = (Path(folder) / name for name in PUBLISHED["esci"].files)
    for path in (examples, products):
        _need_file("esci", path)
        if not allow_other:
            _need_sha256(path, PUBLISHED["esci"].files[path.name])
    judged = [("product_locale", "=", locale), *([("small_version", "=", 1)] if small_version else [])]
    rows = [
        {**row, "label": row["esci_label"], "split": _esci_split(row)}
        for row in _read_parquet(examples, ["query_id", "query", "product_id", "esci_label", "split"], judged)
    ]
    if not rows:
        raise DataError(f"{examples}: nothing is judged in locale {locale!r}; the published ones are us, es and jp")
    wanted = [("product_locale", "=", locale), ("product_id", "in", {row["product_id"] for row in rows})]
    found = _read_parquet(products, [*_ESCI_COLUMNS.values()], wanted)
    ours = ({name: row[theirs] for name, theirs in _ESCI_COLUMNS.items()} for row in found)
    return _checked(products, ours, examples, rows)


def _esci_split(row: Mapping[str, Any]) -> Split:
    if row["split"] == "test":
        return "test"
    return "dev" if sha1(str(row["query"]).encode()).digest()[0] % 10 == 0 else "train"


def _read_parquet(path: Path, columns: list[str], filters: list[Any]) -> Iterator[dict[str, Any]]:
    try:
        table = pq.read_table(path, columns=columns, filters=filters)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not readable as the published Parquet file ({error}); fetch it again") from error
    for batch in table.to_batches(max_chunksize=1 << 14):
        yield from batch.to_pylist()


def wands(folder: Path | str) -> tuple[Catalogue, Judgments]:
    """Wayfair's annotated furniture searches (Chen et al., ECIR 2022; MIT), split by hash of the query.

    Raises:
        DataError: a file is missing, lacks a column, or has not one usable row.
    """
    products, queries, labels = (Path(folder) / name for name in PUBLISHED["wands"].files)
    ours = (_wands_product(row) for row in _read_tabs(products, "product_id", "product_name"))
    texts = {row["query_id"]: row["query"] for row in _read_tabs(queries, "query_id", "query")}
    rows = []
    for row in _read_tabs(labels, "query_id", "product_id", "label"):
        query = texts.get(row["query_id"])
        rows.append({**row, "query": query, "label": _WANDS_LABELS.get(row["label"]), "split": split_of(query or "")})
    return _checked(products, ours, labels, rows)


def _wands_product(row: Mapping[str, str]) -> dict[str, Any]:
    count = row.get("rating_count")
    return {
        "product_id": row["product_id"],
        "title": row["product_name"],
        "bullet_points": row.get("product_features"),
        "description": row.get("product_description"),
        "category": [part.strip() for part in (row.get("category hierarchy") or "").split("/")],
        "rating": row.get("average_rating"),
        "rating_count": int(float(count)) if count else None,
    }


def _read_tabs(path: Path, *needed: str) -> Iterator[dict[str, str]]:
    """Rows of WANDS, whose `.csv` is parted by tabs and quotes as CSV does. Rows with too many fields are left out."""
    _need_file("wands", path)
    csv.field_size_limit(1 << 24)
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        missing = [name for name in needed if name not in (rows.fieldnames or ())]
        if missing:
            raise DataError(f"{path}: column {', '.join(missing)} is missing; fetch the published file again")
        yield from (row for row in rows if None not in row)


def _checked(
    products: Path, products_rows: Iterable[Mapping[str, Any]], judged: Path, judged_rows: Iterable[Mapping[str, Any]]
) -> tuple[Catalogue, Judgments]:
    """What passes the checks, and what was left out, counted among the rows given."""
    good, rejected = _valid(Product, products_rows)
    if not good:
        raise DataError(f"{products}: no usable product. {summary(rejected)}")
    catalogue = Catalogue(good, rejected)
    known, unknown = _valid(Judgment, judged_rows, catalogue.rows_of)
    if not known:
        raise DataError(f"{judged}: no usable judgment. {summary(unknown)}")
    return catalogue, Judgments(known, unknown)


def _valid(
    model: type[Row], rows: Iterable[Mapping[str, Any]], known: Container[str] | None = None
) -> tuple[tuple[Row, ...], tuple[Rejection, ...]]:
    good: list[Row] = []
    rejected: list[Rejection] = []
    for line, row in enumerate(rows, start=1):
        try:
            checked = model.model_validate(row)
        except ValidationError as error:
            rejected.append(Rejection(line, explain(error)))
            continue
        if known is None or checked.product_id in known:
            good.append(checked)
        else:
            rejected.append(Rejection(line, f"product_id: {checked.product_id!r} is not in the catalogue"))
    return tuple(good), tuple(rejected)


def download(name: str, folder: Path | str, address: str | None = None) -> None:
    """Fetch the published files of a data set that the folder does not have yet; `address` is that of a mirror.

    A file appears under its name only when it is whole and, where its sha256 is known, the published one.

    Raises:
        DataError: a file cannot be reached, or is not the published one.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    source = address or PUBLISHED[name].address
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for file, sha256 in PUBLISHED[name].files.items():
            path = folder / file
            if path.is_file():
                _need_sha256(path, sha256)
            else:
                _fetch(f"{source.rstrip('/')}/{file}", path, sha256, progress)


def _fetch(address: str, path: Path, sha256: str, progress: Progress) -> None:
    part = path.with_name(path.name + ".part")
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer, part.open("wb") as file:
            size = int(answer.headers.get("Content-Length") or 0)
            shutil.copyfileobj(progress.wrap_file(answer, size, description=path.name), file)
            if size and file.tell() != size:
                raise OSError(f"the connection ended after {file.tell()} of {size} bytes")
        _need_sha256(part, sha256)
        os.replace(part, path)
    except (OSError, HTTPException) as error:
        raise DataError(
            f"{address}: cannot be fetched ({error}). Fetch it where it can be reached, and put it in {path.parent}"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _need_file(name: str, path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: no such file. Fetch {PUBLISHED[name].address}{path.name} and put it in {path.parent}")


def _need_sha256(path: Path, published: str) -> None:
    if not published:
        return
    with path.open("rb") as file:
        found = file_digest(file, "sha256").hexdigest()
    if found != published:
        raise DataError(
            f"{path}: not the published file (sha256 {found}, published {published}); a pointer or half a download? "
            "Delete it and fetch it again"
        )
