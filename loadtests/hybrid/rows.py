"""A request as the load generator saw it: a JSON line each, from all workers in one file."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

START = "start"
"""Of the first line: when the load began, in seconds since 1970."""


class Row(NamedTuple):
    """One request."""

    time: float
    """When it was sent, in seconds since 1970."""
    kind: str
    ms: float
    """Until it was answered or had failed, as the caller saw it."""
    id: str
    error: str = ""
    """Name of the exception; empty where it was answered."""
    words: str = ""
    steps: dict[str, float] = {}  # noqa: RUF012
    """Milliseconds by step, as the server says."""


class Writer:
    """Writes the file."""

    def __init__(self, path: Path, start: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")
        self._file.write(json.dumps({START: start}) + "\n")
        self._file.flush()

    def write(self, rows: Iterable[list[Any]]) -> None:
        """Add rows, as `list(Row(...))`."""
        self._file.writelines(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)

    def close(self) -> None:
        """Write what is left."""
        self._file.close()


def read(path: Path) -> tuple[float, Iterator[Row]]:
    """When the load began, and its rows."""
    with path.open(encoding="utf-8") as file:
        return float(json.loads(file.readline())[START]), _rows(path)


def _rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        file.readline()
        yield from (Row(*json.loads(line)) for line in file)
