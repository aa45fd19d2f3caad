"""A shop's files as the tests of their readers write them."""

import json
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

TWO = [{"product_id": "p1", "title": "red shoes"}, {"product_id": "p2", "title": "blue tent"}]


def file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def jsonl(folder: Path, *rows: dict) -> Path:
    return file(folder, "products.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def table(folder: Path, **columns) -> Path:
    path = folder / "products.parquet"
    parquet.write_table(pa.table(columns), path)
    return path
