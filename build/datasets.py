"""Published data sets under our own types: Shopping Queries (ESCI) and WANDS.

Both are read in the format they are published in, so that figures can be compared with those of others.
`python -m build.datasets esci --out DIR --download FOLDER` writes `products.parquet` and `judgments.parquet` in the
columns that `python -m build` reads; `--products N` keeps some of the queries, `--pairs N` writes `pairs.parquet` too.
"""

import argparse
import csv
import os
import urllib.request
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import file_digest, sha1, sha256
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from shelfbridge.catalogue import (
    Catalogue,
    Judgment,
    Judgments,
    Label,
    Product,
    Rejection,
    Split,
    split_of,
    summary,
)
from shelfbridge.errors import DataError
from shelfbridge.request import explain

Row = TypeVar("Row", Product, Judgment)

_CHUNK = 1 << 20
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Published:
    """Where a data set is published: an address to which a file name is added, and the sha256 of each file if known."""

    address: str
    files: Mapping[str, str | None]


PUBLISHED = {
    "esci": Published(
        "https://github.com/amazon-science/esci-data/raw/main/shopping_queries_dataset/",
        {
            "shopping_queries_dataset_examples.parquet": (
                "4a735b693b4a424a6fc67f5be6e4c811495c488bbf66d02a602d308b2744263a"
            ),
            "shopping_queries_dataset_products.parquet": (
                "25124442d064d64b26f74082d6fa09438d679efc0c183cf28d19064a2b65a265"
            ),
        },
    ),
    "wands": Published(
        "https://raw.githubusercontent.com/wayfair/WANDS/main/dataset/",
        {"product.csv": None, "query.csv": None, "label.csv": None},
    ),
}

_ESCI_COLUMNS = {
    "product_id": "product_id",
    "title": "product_title",
    "brand": "product_brand",
    "color": "product_color",
    "bullet_points": "product_bullet_point",
    "description": "product_description",
}
_TEXT, _WHOLE, _AMOUNT = pa.string(), pa.int64(), pa.float64()
_PRODUCT_SCHEMA = pa.schema(
    dict.fromkeys(_ESCI_COLUMNS, _TEXT)
    | {"category": pa.list_(_TEXT), "price": _AMOUNT, "stock": _WHOLE, "rating": _AMOUNT, "rating_count": _WHOLE}
)
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
    catalogue = _catalogue(products, ({ours: row[theirs] for ours, theirs in _ESCI_COLUMNS.items()} for row in found))
    return catalogue, _judgments(examples, rows, catalogue)


def wands(folder: Path | str) -> tuple[Catalogue, Judgments]:
    """Wayfair's annotated furniture searches (Chen et al., ECIR 2022; MIT), split by hash of the query.

    Raises:
        DataError: a file is missing, lacks a column, or has not one usable row.
    """
    products, queries, labels = (Path(folder) / name for name in PUBLISHED["wands"].files)
    catalogue = _catalogue(
        products, (_wands_product(row) for row in _read_tabs(products, "product_id", "product_name"))
    )
    texts = {row["query_id"]: row["query"] for row in _read_tabs(queries, "query_id", "query")}
    rows = []
    for row in _read_tabs(labels, "query_id", "product_id", "label"):
        query = texts.get(row["query_id"])
        rows.append({**row, "query": query, "label": _WANDS_LABELS.get(row["label"]), "split": split_of(query or "")})
    return catalogue, _judgments(labels, rows, catalogue)


def subset(catalogue: Catalogue, judgments: Judgments, most: int) -> tuple[Catalogue, Judgments]:
    """Queries by chance (a hash of their text), with all their judged products, as far as `most` products go.

    Raises:
        DataError: not even the first query fits.
    """
    texts, judged = judgments.queries, judgments.by_query
    queries: set[str] = set()
    wanted: set[str] = set()
    for query_id in sorted(texts, key=lambda one: _chance(texts[one])):
        more = judged[query_id].keys() - wanted
        if len(wanted) + len(more) > most:
            break
        queries.add(query_id)
        wanted |= more
    if not queries:
        raise DataError(f"--products {most} is less than one query's judged products; give a few hundred or more")
    products = tuple(product for product in catalogue.products if product.product_id in wanted)
    rows = tuple(row for row in judgments.rows if row.query_id in queries)
    return Catalogue(products, catalogue.rejected), Judgments(rows, judgments.rejected)


def write(folder: Path, catalogue: Catalogue, judgments: Judgments) -> None:
    """`products.parquet` and `judgments.parquet` in our own columns."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema, rows in (("products", _PRODUCT_SCHEMA, catalogue.products), ("judgments", None, judgments.rows)):
        table = pa.Table.from_pylist([row.model_dump(mode="json") for row in rows], schema=schema)
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")


def write_pairs(path: Path, catalogue: Catalogue, judgments: Judgments, count: int) -> int:
    """Judged pairs as `python -m build --pairs` reads them, by chance, as many exact or substitute ones as others.

    Returns:
        How many there are: fewer than `count` where one kind is scarce.

    Raises:
        DataError: there are none.
    """
    kinds: dict[bool, list[tuple[str, str, str]]] = {True: [], False: []}
    for row in judgments.rows:
        name = catalogue.products[catalogue.rows_of[row.product_id]].title
        kinds[row.label in (Label.EXACT, Label.SUBSTITUTE)].append((row.query, name, row.label.value))
    each = min(count // 2, *(len(pairs) for pairs in kinds.values()))
    if each < 1:
        raise DataError(f"{path}: no pairs; --pairs needs 2 or more, and judgments of both kinds")
    rows = [
        {"query": query, "name": name, "label": label}
        for pairs in kinds.values()
        for query, name, label in sorted(pairs, key=lambda pair: _chance("\t".join(pair)))[:each]
    ]
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
    return len(rows)


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


def _fetch(address: str, path: Path, sha256: str | None, progress: Progress) -> None:
    part = path.with_name(path.name + ".part")
    task = progress.add_task(path.name, total=None)
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer, part.open("wb") as file:
            size = answer.headers.get("Content-Length")
            progress.update(task, total=int(size) if size else None)
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                progress.advance(task, len(chunk))
            if size and file.tell() != int(size):
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


def _need_sha256(path: Path, published: str | None) -> None:
    if published is None:
        return
    with path.open("rb") as file:
        found = file_digest(file, "sha256").hexdigest()
    if found != published:
        raise DataError(
            f"{path}: not the published file (sha256 {found}, published {published}); a pointer or half a download? "
            "Delete it and fetch it again"
        )


def _read_parquet(path: Path, columns: list[str], filters: list[Any]) -> Iterator[dict[str, Any]]:
    try:
        table = pq.read_table(path, columns=columns, filters=filters)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not readable as the published Parquet file ({error}); fetch it again") from error
    for batch in table.to_batches(max_chunksize=1 << 14):
        yield from batch.to_pylist()


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


def _esci_split(row: Mapping[str, Any]) -> Split:
    if row["split"] == "test":
        return "test"
    return "dev" if sha1(str(row["query"]).encode()).digest()[0] % 10 == 0 else "train"


def _chance(text: str) -> bytes:
    """A place in an order that is nobody's; another hash than that of the splits, so that it mixes them."""
    return sha256(text.encode()).digest()


def _wands_product(row: Mapping[str, str]) -> dict[str, Any]:
    return {
        "product_id": row["product_id"],
        "title": row["product_name"],
        "bullet_points": row.get("product_features"),
        "description": row.get("product_description"),
        "category": [part.strip() for part in (row.get("category hierarchy") or "").split("/") if part.strip()],
        "rating": row.get("average_rating"),
        "rating_count": _whole(row.get("rating_count")),
    }


def _whole(text: str | None) -> int | None:
    return int(float(text)) if text else None


def _valid(
    model: type[Row], rows: Iterable[Mapping[str, Any]], known: Container[str] | None = None
) -> tuple[tuple[Row, ...], tuple[Rejection, ...]]:
    """The rows that pass the checks and are of a known product, and what was left out, counted among those given."""
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


def _catalogue(path: Path, rows: Iterable[Mapping[str, Any]]) -> Catalogue:
    products, rejected = _valid(Product, rows)
    if not products:
        raise DataError(f"{path}: no usable product. {summary(rejected)}")
    return Catalogue(products, rejected)


def _judgments(path: Path, rows: Iterable[Mapping[str, Any]], catalogue: Catalogue) -> Judgments:
    judgments, rejected = _valid(Judgment, rows, catalogue.rows_of)
    if not judgments:
        raise DataError(f"{path}: no usable judgment. {summary(rejected)}")
    return Judgments(judgments, rejected)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m build.datasets", description="Bring a published set to our form.")
    parser.add_argument("name", choices=list(PUBLISHED))
    parser.add_argument("--out", type=Path, required=True, help="folder for products.parquet and judgments.parquet")
    parser.add_argument("--download", type=Path, metavar="FOLDER", help="fetch what this folder lacks, then read it")
    parser.add_argument("--folder", type=Path, help="read files that are there already, without any network")
    parser.add_argument("--products", type=int, metavar="N", help="only so many queries as have N products in all")
    parser.add_argument(
        "--pairs", type=int, metavar="N", help="also pairs.parquet, for --pairs of another shop's build"
    )
    options = parser.parse_args()
    source = options.download or options.folder
    if source is None:
        parser.error("give --download FOLDER or --folder FOLDER")
    console = Console(stderr=True)
    try:
        if options.download:
            download(options.name, options.download)
        catalogue, judgments = {"esci": esci, "wands": wands}[options.name](source)
        if options.products is not None:
            catalogue, judgments = subset(catalogue, judgments, options.products)
        write(options.out, catalogue, judgments)
        if options.pairs is not None:
            count = write_pairs(options.out / "pairs.parquet", catalogue, judgments, options.pairs)
            console.print(f"{count} pairs")
    except DataError as error:
        console.print(f"[bold red]error[/] {error}", highlight=False)
        raise SystemExit(1) from error
    console.print(
        f"{len(catalogue.products)} products, {len(judgments.queries)} queries, {len(judgments.rows)} judgments"
    )
    console.print(summary((*catalogue.rejected, *judgments.rejected)), highlight=False)


if __name__ == "__main__":
    main()
