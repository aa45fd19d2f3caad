"""Changes of a catalogue while it is served: products added, changed and deleted since the release was made.

    releases/
      3/                      the release, never edited
      3.changes/
        7/                    generation 7: all that has changed since the release, complete
          changes.json        of which release, and the size of every file
          gone.npy            rows that are no longer sold, of the release or of this generation
          products.jsonl      the products of this generation's rows
          lexicon/ facets/ vectors.faiss tokens.npy pieces.npy ids.npy …    as in the release
        current -> 7

Every process that answers searches looks at the link before each, and opens the generation that it names. The steps of
one search may see different generations: a product keeps its row in all of them, and no row is given to another.
"""

import json
import logging
import os
from collections.abc import Hashable
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from shelfbridge.errors import ArtefactError

RECORD = "changes.json"
FORMAT = 1
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
        self._seen = generation(self._changes)
        self._now = self._open()

    def now(self) -> Opened:
        """As the changes are at this moment. Those that cannot be read are logged, and the ones before them stay."""
        named = generation(self._changes)
        if named == self._seen:
            return self._now
        self._seen = named
        try:
            self._now = self._open()
        except ArtefactError as error:
            _LOG.error("%s; searches go on without the newest changes", error)
        return self._now

    def _open(self) -> Opened:
        while self._seen is not None:
            folder = self._changes / str(self._seen)
            try:
                check(folder, self._release)
                return self._base.with_changes(folder)
            except ArtefactError:
                named = generation(self._changes)
                if named == self._seen:
                    raise
                self._seen = named  # it went while it was being opened, as there are newer ones
        return self._base


def changes_of(folder: Path) -> Path:
    """Where the changes lie of the release that a model's version folder belongs to, or is linked to."""
    return changes_beside(folder.resolve().parent.parent)


def changes_beside(release: Path) -> Path:
    """Where the changes of a release lie."""
    release = release.resolve()
    return release.with_name(f"{release.name}.changes")


def generation(changes: Path) -> Hashable:
    """Which generation of a folder of changes is to be seen now; None where nothing has changed. Takes microseconds."""
    try:
        return os.readlink(f"{changes}/current")
    except OSError:
        return None


def write_record(folder: Path, release: Path) -> None:
    """Complete a generation of a release: write down what is in it."""
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
    record = {"format": FORMAT, "release": identity(release), "files": sizes}
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def check(folder: Path, release: Path) -> None:
    """Hold a generation against its record and its release.

    Raises:
        ArtefactError: it belongs to another release, or a file is missing or incomplete.
    """
    cure = f"delete {folder.parent} and make the changes again"
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
            raise ArtefactError(f"{folder / name} is missing or damaged; {cure}")


def identity(release: Path) -> str:
    """What a release is told from others by: sha256 of its manifest.

    Raises:
        ArtefactError: there is none.
    """
    try:
        return sha256((release / "manifest.json").read_bytes()).hexdigest()
    except OSError as error:
        raise ArtefactError(f"{release} is not a release: no readable manifest.json; run python -m build") from error
