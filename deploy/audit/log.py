"""The folder of an audit log: files of sealed lines, and a head that says how far they go.

    audit-00000001.jsonl    the first line of each file follows the last one of the file before
    audit-00000002.jsonl
    head.json               number and seal of the last line, sealed

A chain alone does not tell that its end was cut off: the head does. Whoever puts back an older log with its own head is
found only by a later head that was copied elsewhere (`verify --head`).
"""

import fcntl
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from deploy.audit.chain import START, BrokenChain, Chain, Line, Link
from shelfbridge.errors import ShelfbridgeError

HEAD = "head.json"


def files(folder: Path) -> list[Path]:
    """The files of a log, in order."""
    return sorted(folder.glob("audit-[0-9]*.jsonl"))


def read_head(path: Path, chain: Chain) -> Link:
    """The last line, as a head has it.

    Raises:
        BrokenChain: it is missing or was altered.
    """
    try:
        fields, _ = chain.open("head", path.read_bytes())
    except (OSError, ValueError) as error:
        raise BrokenChain(
            f"{path}: is missing, was altered, or is sealed with another key; compare with a copy of the log"
        ) from error
    return Link(fields["number"], fields["last"])


class AuditLog:
    """A log that is written. As a context it is open from entry to exit; one process at a time.

    Raises:
        ShelfbridgeError: another process writes it.
        BrokenChain: what the head counts is not whole.
    """

    def __init__(self, folder: Path, chain: Chain, *, max_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._chain, self._max_bytes = folder, chain, max_bytes
        self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.last, self.source = self._recover()
        except BlockingIOError:
            self._lock.close()
            raise ShelfbridgeError(f"{folder}: another collector writes this log; stop it first") from None
        except BaseException:
            self._lock.close()
            raise

    def append(self, records: Iterable[tuple[Mapping[str, Any], Any]]) -> None:
        """Add records, each with the place of its source, to be read back as `source`. They survive a crash."""
        lines, last = [], self.last
        for record, self.source in records:
            number = last.number + 1
            line, seal = self._chain.seal(
                "line", {"number": number, "before": last.seal, **record, "source": self.source}
            )
            lines.append(line)
            last = Link(number, seal)
        with self._file().open("ab", buffering=0) as file:
            remaining = memoryview(b"".join(lines))
            while remaining:
                remaining = remaining[file.write(remaining) :]
            os.fsync(file.fileno())
        self.last = last
        self._write_head()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.close()

    def _file(self) -> Path:
        """The file to add to: the last, or a new one when that is full."""
        known = files(self.folder)
        if known and known[-1].stat().st_size < self._max_bytes:
            return known[-1]
        number = 1 + (int(known[-1].stem.removeprefix("audit-")) if known else 0)
        path = self.folder / f"audit-{number:08}.jsonl"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640))
        _sync(self.folder)
        return path

    def _write_head(self) -> None:
        draft = self.folder / f".{HEAD}"
        content, _ = self._chain.seal("head", {"number": self.last.number, "last": self.last.seal})
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.folder / HEAD)
        _sync(self.folder)

    def _recover(self) -> tuple[Link, Any]:
        """The last good line and its source. What a crash left after it goes, as long as the head never counted it."""
        known, torn, line = files(self.folder), [], None
        if not known and not (self.folder / HEAD).exists():
            self.last = START
            self._write_head()
        head = read_head(self.folder / HEAD, self._chain)
        for file in reversed(known):
            line, whole = self._last_good(file)
            if not whole:
                torn.append((file, line.end if line else 0))
            if line:
                break
        link, source = (line.link, line.fields["source"]) if line else (START, None)
        if link.number < head.number or (link.number == head.number and link != head):
            raise BrokenChain(f"{self.folder}: is not whole up to its head; see where (python -m deploy.audit verify)")
        for file, end in torn:
            os.truncate(file, end)
        return link, source

    def _last_good(self, file: Path) -> tuple[Line | None, bool]:
        """The last line before the first bad one, and whether there is no bad one."""
        line = None
        try:
            for line in self._chain.read(file, None):  # noqa: B007
                pass
        except BrokenChain:
            return line, False
        return line, True


def verify(folder: Path, chain: Chain, *, head: Path | None = None, first: str | None = None) -> int:
    """Check every line of a log.

    Args:
        head: kept elsewhere, to hold the log against beside its own.
        first: file to begin with where those before it are no longer kept.

    Returns:
        How many lines there are.

    Raises:
        BrokenChain: something was altered, moved, taken out or cut off; the message names the first such line.
    """
    if not folder.is_dir():
        raise BrokenChain(f"{folder}: no audit log; name the folder of one, or find out who removed it")
    heads = {path: read_head(path, chain) for path in (folder / HEAD, head) if path}
    kept = [file for file in files(folder) if first is None or file.name >= first]
    if first and (not kept or kept[0].name != first):
        raise BrokenChain(f"{folder / first}: is missing; name the first file that is kept")
    last: Link | None = None if first else START
    count = 0
    for file in kept:
        for place, line in enumerate(chain.read(file, last), 1):
            last, count = line.link, count + 1
            for path, end in heads.items():
                if end.number == last.number and end != last:
                    raise BrokenChain(f"{file}, line {place}: is not the line that {path} knows; compare with a copy")
    for path, end in heads.items():
        if (last or START).number < end.number:
            raise BrokenChain(
                f"{kept[-1] if kept else folder}: number {(last or START).number + 1} is missing at the end, as {path} "
                f"counts {end.number}; compare with a copy of the log"
            )
    return count


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
