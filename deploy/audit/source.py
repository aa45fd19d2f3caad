"""Where the gateway's lines come from: a file that grows and is rotated, or a pipe."""

import hashlib
import os
import select
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

CHUNK = 1 << 20
PAUSE = 0.2
"""Seconds to wait where there is nothing to read."""


class Read(NamedTuple):
    """A line, None where lines were lost, and the place from which to read on after it."""

    line: bytes | None
    place: Any


class Source(Protocol):
    """Lines in their order."""

    def read(self) -> list[Read] | None:
        """What has come since; nothing after a short wait, None when nothing can come any more."""

    def close(self) -> None:
        """Let go of the file or pipe."""


class Pipe:
    """Lines of a pipe. What was read from it and not yet kept is lost if the collector dies: no pipe gives it again."""

    def __init__(self, number: int) -> None:
        self._number, self._rest = number, b""

    def read(self) -> list[Read] | None:
        """What has come since."""
        if not select.select([self._number], [], [], PAUSE)[0]:
            return []
        data = os.read(self._number, CHUNK)
        if not data and not self._rest:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n") if data else (self._rest, b"")
        return [Read(line, None) for line in lines]

    def close(self) -> None:
        """Let go of the pipe."""
        os.close(self._number)


class GrowingFile:
    """Lines of a file, known again after a rotation by its first line: `access.log`, then `access.log.1` or alike.

    Rotate by renaming, and compress no file that may not have been read yet.
    """

    def __init__(self, path: Path, place: Any, *, follow: bool) -> None:
        """Read on from a place that was kept with a line, from the start where that is None."""
        self._path, self._follow = path, follow
        self._file: BinaryIO | None = None
        self._name = ""
        self._lost = False
        if place:
            self._resume(place["file"], place["offset"])

    def read(self) -> list[Read] | None:
        """What has come since."""
        if self._lost:
            self._lost = False
            return [Read(None, None)]
        found = self._lines() if self._file or self._open(self._path) else []
        if not found and self._file and (later := self._later()):
            found = self._lines(last=True)  # what came before the rotation, after the look above
            self._open(later)
            found = found or self._lines()
        if not found and not self._follow:
            return None
        if not found:
            time.sleep(PAUSE)
        return found

    def close(self) -> None:
        """Let go of the file."""
        if self._file:
            self._file.close()

    def _lines(self, *, last: bool = False) -> list[Read]:
        assert self._file is not None
        start = self._file.tell()
        if os.fstat(self._file.fileno()).st_size < start:
            self._file.seek(0)
            return [Read(None, None)]
        lines = self._file.readlines(CHUNK)
        if lines and not lines[-1].endswith(b"\n") and not last:
            self._file.seek(-len(lines.pop()), os.SEEK_CUR)
        if start == 0 and lines:
            self._name = _digest(lines[0])
        found = []
        for line in lines:
            start += len(line)
            found.append(Read(line, {"file": self._name, "offset": start}))
        return found

    def _open(self, path: Path) -> bool:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return False
        self.close()
        self._file = file
        return True

    def _resume(self, name: str, offset: int) -> None:
        for path, status in self._rotated().items():
            with path.open("rb") as file:
                known = _digest(file.readline()) == name
            if known and status.st_size >= offset and self._open(path):
                assert self._file is not None
                self._file.seek(offset)
                self._name = name
                return
        self._lost = True

    def _rotated(self) -> dict[Path, os.stat_result]:
        """The file and what it was rotated to, oldest first."""
        found = {}
        for path in self._path.parent.glob(f"{self._path.name}*"):
            with suppress(FileNotFoundError):  # renamed meanwhile
                found[path] = path.stat()
        return dict(sorted(found.items(), key=lambda entry: entry[1].st_mtime_ns))

    def _later(self) -> Path | None:
        """The file to read after this one."""
        assert self._file is not None
        own = os.fstat(self._file.fileno())
        if own.st_nlink == 0:
            return self._path if self._path.exists() else None
        rotated = self._rotated()
        paths = iter(rotated)
        own_found = any(rotated[path].st_ino == own.st_ino for path in paths)
        return next(paths, None) if own_found else None


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()[:32]
