"""Changes of a catalogue while it is served: products added, changed and deleted since the release was made.

    releases/
      3/                      the release, never edited
      3.changes/
        7-3fa2c1/             generation 7: all that has changed since the release, complete
          changes.json        of which release, and the size of every file
          gone.npy            rows that are no longer sold, of the release or of this generation
          products.jsonl      the products of this generation's rows
          lexicon/ facets/ vectors.faiss tokens.npy pieces.npy ids.npy …    as in the release
        current -> 7-3fa2c1

Every process that answers searches looks at the link before each, and opens the generation that it names. The steps of
one search may see different generations: a product keeps its row in all of them, and no row is given to another. The
digits behind the number tell a generation from one of the same number in a folder that was deleted.
"""

import json
import logging
import os
import time
from collections.abc import Hashable
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from shelfbridge.errors import ArtefactError

RECORD = "changes.json"
FORMAT = 1
RETRY = 1.0
"""Seconds before changes that could not be read are looked at again."""
_LOG = logging.getLogger(__name__)


class Changeable(Protocol):
    """What a step reads of the products."""

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the release's."""
        ...

    def with_changes(self, folder: Path) -> Self:
        """The release's and a generation's as one."""
        ...


Opened = TypeVar("Opened", bound=Changeable)


class Changing(Generic[Opened]):
    """What a step reads of the products, as they are now."""

    def __init__(self, kind: type[Opened], folder: Path) -> None:
        """Open what lies in a version folder of a release, and the changes beside the release.

        Raises:
            ArtefactError: a file of either is missing or damaged.
        """
        self._base = self._now = kind.open(folder)
        self._release = folder.resolve().parent.parent
        self._changes = changes_of(folder)
        self._opened: Hashable = None
        self._retry = 0.0
        self._open(generation(self._changes))

    def now(self) -> Opened:
        """As the changes are at this moment. Those that cannot be read are logged, and the ones before them stay."""
        try:
            named = generation(self._changes)
            if named != self._opened and time.monotonic() >= self._retry:
                self._open(named)
        except Exception as error:  # a search must be answered, whatever lies in that folder
            self._retry = time.monotonic() + RETRY
            _LOG.error("%s; searches go on without the newest changes", error)
        return self._now

    def generation(self) -> Hashable:
        """Which generation `now` is of; None where nothing has changed."""
        self.now()
        return self._opened

    def _open(self, named: Hashable) -> None:
        while named is not None:
            folder = self._changes / str(named)
            try:
                check(folder, self._release)
                self._now, self._opened = self._base.with_changes(folder), named
                return
            except ArtefactError:
                failed, named = named, generation(self._changes)
                if named == failed:
                    raise
                # It went while it was being opened, as there are newer ones
        self._now, self._opened = self._base, None


def changes_of(folder: Path) -> Path:
    """Where the changes lie of the release that a model's version folder belongs to, or is linked to."""
    return changes_beside(folder.resolve().parent.parent)


def changes_beside(release: Path) -> Path:
    """Where the changes of a release lie."""
    release = release.resolve()
    return release.with_name(f"{release.name}.changes")


def generation(changes: Path) -> Hashable:
    """Which generation of a folder of changes is to be seen now; None where nothing has changed. Takes microseconds.

    Raises:
        ArtefactError: the folder cannot be read, or `current` is no link.
    """
    try:
        return os.readlink(f"{changes}/current")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtefactError(f"{changes}/current cannot be read as a link ({error.strerror}); restore it") from error


def write_record(folder: Path, release: Path) -> None:
    """Complete a generation of a release: write down what is in it, and have all of it on disk."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in files}
    record = {"format": FORMAT, "release": identity(release), "files": sizes}
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for path in (*folder.rglob("*"), folder):
        sync(path)


def sync(path: Path) -> None:
    """Have a file, or a folder's list of files, on disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def check(folder: Path, release: Path) -> None:
    """Hold a generation against its record and its release.

    Raises:
        ArtefactError: it belongs to another release, or a file is missing or incomplete.
    """
    cure = f"delete {folder.parent} and make the changes again, or link its current to the generation before"
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        made_for, sizes = record["release"], dict(record["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{folder / RECORD} cannot be read ({error!r}); {cure}") from error
    if record.get("format") != FORMAT or made_for != identity(release):
        raise ArtefactError(f"{folder} was not made for {release} as it is now; {cure}")
    for name, size in sizes.items():
        try:
            whole = (folder / name).stat().st_size == size
        except OSError:
            whole = False
        if not whole:
            raise ArtefactError(f"{folder / name} is missing or incomplete; {cure}")


def identity(release: Path) -> str:
    """What a release is told from others by: sha256 of its manifest.

    Raises:
        ArtefactError: there is none.
    """
    try:
        return sha256((release / "manifest.json").read_bytes()).hexdigest()
    except OSError as error:
        raise ArtefactError(f"{release} is not a release: no readable manifest.json; run python -m build") from error
