"""From the gateway's lines to the audit log, one for one: killed at any moment, it goes on where its log ends."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

from deploy.audit.log import AuditLog
from deploy.audit.record import GAP, Record, Versions, read
from deploy.audit.source import GrowingFile, Pipe, Read, Source
from shelfbridge.profiles import Pseudonyms


def open_source(path: Path, log: AuditLog, *, follow: bool) -> Source:
    """The source at a path, from where the log has it."""
    if str(path) == "-":
        return Pipe(0)
    if path.exists() and stat.S_ISFIFO(path.stat().st_mode):
        return Pipe(os.open(path, os.O_RDONLY))
    return GrowingFile(path, log.source, follow=follow)


def collect(
    source: Source,
    log: AuditLog,
    pseudonyms: Pseudonyms,
    stopped: Callable[[], bool] = lambda: False,
    versions: Versions = MappingProxyType({}),
) -> int:
    """Copy lines until the source ends or it is told to stop.

    Returns:
        How many lines were added.
    """
    before = log.last.number
    while not stopped() and (found := source.read()) is not None:
        if found:
            log.append(
                (_record(each, pseudonyms, versions).model_dump(exclude_none=True), each.place) for each in found
            )
    return log.last.number - before


def _record(each: Read, pseudonyms: Pseudonyms, versions: Versions) -> Record:
    return Record(decision="gap", reason=GAP) if each.line is None else read(each.line, pseudonyms, versions)
