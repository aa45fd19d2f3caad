"""Bring a published data set to the columns that `python -m build` reads.

    python -m build.datasets esci --out DIR --download FOLDER

Writes products.parquet and judgments.parquet; --products N keeps some of the queries, --pairs N writes pairs.parquet
too.
"""

import argparse
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from build.data.published import PUBLISHED, download, esci, wands
from shelfbridge import program
from shelfbridge.catalogue import Catalogue, Judgments, Label, summary
from shelfbridge.errors import DataError

_TEXT, _WHOLE, _AMOUNT = pa.string(), pa.int64(), pa.float64()
_PRODUCT_SCHEMA = pa.schema(
    dict.fromkeys(("product_id", "title", "brand", "color", "bullet_points", "description"), _TEXT)
    | {"category": pa.list_(_TEXT), "price": _AMOUNT, "stock": _WHOLE, "rating": _AMOUNT, "rating_count": _WHOLE}
)


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
        dict(zip(("query", "name", "label"), pair, strict=True))
        for pairs in kinds.values()
        for pair in sorted(pairs, key=lambda pair: _chance("\t".join(pair)))[:each]
    ]
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
    return len(rows)


def _chance(text: str) -> bytes:
    """A place in an order that is nobody's; another hash than that of the splits, so that it mixes them."""
    return sha256(text.encode()).digest()


def main() -> int:
    """Run the command line and return its exit status."""
    parser = program.command_line("build.datasets", __doc__ or "")
    parser.add_argument("name", choices=list(PUBLISHED))
    parser.add_argument("--out", type=Path, required=True, help="folder for products.parquet and judgments.parquet")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--download", type=Path, metavar="FOLDER", help="fetch what this folder lacks, then read it")
    source.add_argument("--folder", type=Path, help="read files that are there already, without any network")
    parser.add_argument("--products", type=int, metavar="N", help="only so many queries as have N products in all")
    parser.add_argument(
        "--pairs", type=int, metavar="N", help="also pairs.parquet, for --pairs of another shop's build"
    )
    options = parser.parse_args()
    return program.ended(lambda: _convert(options))


def _convert(options: argparse.Namespace) -> int:
    console = program.console(stderr=True)
    if options.download:
        download(options.name, options.download)
    catalogue, judgments = {"esci": esci, "wands": wands}[options.name](options.download or options.folder)
    if options.products is not None:
        catalogue, judgments = subset(catalogue, judgments, options.products)
    write(options.out, catalogue, judgments)
    if options.pairs is not None:
        count = write_pairs(options.out / "pairs.parquet", catalogue, judgments, options.pairs)
        console.print(f"{count} pairs")
    console.print(
        f"{len(catalogue.products)} products, {len(judgments.queries)} queries, {len(judgments.rows)} judgments"
    )
    console.print(summary((*catalogue.rejected, *judgments.rejected)))
    return program.OK


if __name__ == "__main__":
    raise SystemExit(main())
