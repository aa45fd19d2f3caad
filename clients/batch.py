"""Many queries to one TREC run: the batch side of `python -m clients.search`.

A line that is no query, or a query that fails, is reported by line and reason; the others are answered. The run appears
whole or not at all.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from shelfbridge.client import AsyncSearchClient, SearchResult
from shelfbridge.errors import DataError, SearchError


@dataclass(frozen=True)
class Query:
    """A query and where it stands in its file (1 is the first line)."""

    line: int
    query_id: str
    text: str


def read_queries(path: Path) -> tuple[list[Query], dict[int, str]]:
    """The queries of a file of `id<tab>text` lines, and why other lines are none. Blank lines are passed over.

    Raises:
        DataError: the file cannot be read, or is blank.
    """
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; give a file of id<tab>text lines") from error
    queries: dict[str, Query] = {}
    rejected: dict[int, str] = {}
    for line, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        try:
            query = _parse(line, raw)
        except ValueError as error:
            rejected[line] = str(error)
            continue
        first = queries.setdefault(query.query_id, query)
        if first is not query:
            rejected[line] = f"id {query.query_id!r} was given on line {first.line}"
    if not queries and not rejected:
        raise DataError(f"{path}: nothing in it; give a file of id<tab>text lines")
    return list(queries.values()), rejected


def _parse(line: int, raw: bytes) -> Query:
    try:
        query_id, tab, text = raw.decode().partition("\t")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start})") from error
    if not tab:
        raise ValueError("no tab between id and text")
    if not is_word(query_id):
        raise ValueError("the id is empty or holds blanks")
    return Query(line, query_id, text)


async def answer(
    client: AsyncSearchClient,
    queries: Sequence[Query],
    *,
    k: int,
    deep: bool,
    concurrency: int,
    on_done: Callable[[], None],
) -> dict[Query, SearchResult | SearchError]:
    """Each query's result, or why it has none; `concurrency` searches are under way at a time."""
    answers: dict[Query, SearchResult | SearchError] = {}
    waiting = iter(queries)

    async def work() -> None:
        for query in waiting:
            try:
                answers[query] = await client.search(query.text, k=k, deep=deep, with_payload=False)
            except SearchError as error:
                answers[query] = error
            on_done()

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())
    return {query: answers[query] for query in queries}


def trec_lines(query: Query, result: SearchResult, tag: str) -> list[str]:
    """`qid Q0 docid rank score tag` per hit.

    Raises:
        DataError: a product id cannot stand in a run, whose fields are separated by blanks.
    """
    for hit in result.hits:
        if not is_word(hit.product_id):
            raise DataError(f"product id {hit.product_id!r} holds blanks; a TREC run cannot name it")
    return [f"{query.query_id} Q0 {hit.product_id} {hit.rank} {hit.score:.9g} {tag}\n" for hit in result.hits]


def write_run(path: Path, lines: Iterable[str]) -> None:
    """The run, atomically: a reader sees the old file or the whole new one.

    Raises:
        DataError: the folder is missing or cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; give a path in a folder that can be written") from error
    finally:
        part.unlink(missing_ok=True)


def is_word(text: str) -> bool:
    """Whether a text has characters and none of them is blank."""
    return text.split() == [text]
