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

Every process that serves looks at the link again and again, and opens the generation that it names
(`shelfbridge.release`). All steps of a search in one process see one generation. Steps that are models of their own may
see different ones: a product keeps its row in all of them, and no row is given to another. The digits behind the number
tell a generation from one of the same number in a folder that was deleted.
"""

import json
import os
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

from shelfbridge.errors import ArtefactError

MANIFEST = "manifest.json"
"""File of a release that tells what is in it."""
RECORD = "changes.json"
FORMAT = 1
_NAME = re.compile(r"\d+-[0-9a-f]+", re.ASCII)


def changes_beside(release: Path) -> Path:
    """Where the changes of a release lie."""
    release = release.resolve()
    return release.with_name(f"{release.name}.changes")


def generation(changes: Path) -> str | None:
    """Return which generation of a folder of changes is to be seen now; None where nothing has changed. Takes
    microseconds.

    Raises:
        ArtefactError: the folder cannot be read, or `current` is no link to a generation.
    """
    try:
        target = os.readlink(f"{changes}/current")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtefactError(f"{changes}/current cannot be read as a link ({error.strerror}); restore it") from error
    name = os.path.basename(target.rstrip("/"))  # an operator may have linked it by its whole path
    if not _NAME.fullmatch(name):
        raise ArtefactError(f"{changes}/current names {target}, which is no generation; link it to one of that folder")
    return name


def kept(changes: Path) -> list[str]:
    """Return the names of all generations in a folder of changes, the newest first."""
    try:
        names = [entry.name for entry in changes.iterdir() if _NAME.fullmatch(entry.name)]
    except OSError:
        return []
    return sorted(names, key=lambda name: -int(name.split("-")[0]))


def write_record(folder: Path, release: Path) -> None:
    """Complete a generation of a release: write down what is in it, and have all of it on disk."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in files}
    record = {"format": FORMAT, "release": identity(release), "files": sizes}
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sync_all(folder)


def sync_all(folder: Path) -> None:
    """Have all of a folder on disk."""
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
        return sha256((release / MANIFEST).read_bytes()).hexdigest()
    except OSError as error:
        raise ArtefactError(f"{release} is not a release: no readable manifest.json; run python -m build") from error
