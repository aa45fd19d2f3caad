"""A release, opened once per process, and what a request sees of it: one snapshot.

A release is never edited. What has changed of its catalogue since lies beside it, a generation at a time
(`shelfbridge.changes`). A thread looks for new generations and opens them beside the requests; the next
request gets the new snapshot, those under way keep theirs. A generation that cannot be read leaves the last good one in
force, at the start of a process as well as later, and the gauge `shelfbridge_changes_unreadable` says so.

A step that is a model of its own opens its version folder, which holds every file that it reads: nothing is looked for
in the folders of other models, so a repository may as well come out of a bucket. A process that runs whole pipelines
opens the release's own folder.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from shelfbridge import changes, contract
from shelfbridge.errors import ArtefactError
from shelfbridge.gauges import Gauge

if TYPE_CHECKING:
    from shelfbridge.retrieval import CandidateIndex, ProductPairs, ProductStore
    from shelfbridge.shelf.assortment import Assortment
    from shelfbridge.wordpieces import WordPieces

Part = Literal["words", "index", "pairs", "store", "assortment"]
"""What a step may read of a release."""
Files = Literal["words", "index", "pairs", "store", "shelf"]
HOMES: Mapping[Files, str] = {
    "words": "preprocess",
    "index": "retrieve",
    "pairs": "shortlist",
    "store": "postprocess",
    "shelf": "shelf_candidates",
}
"""The model in whose version folder files lie in any release."""
SHELF = "shelf"
"""Folder, within a version folder, of the shelf's own files."""
LOOK_S = 0.05
"""Seconds between two looks for a new generation."""
RETRY_S = 1.0
"""Seconds before a generation that could not be read is tried again."""
UNREADABLE = Gauge("shelfbridge_changes_unreadable", "1 while the newest changes cannot be read and older ones serve")
GENERATION = Gauge("shelfbridge_changes_generation", "Number of the generation of changes that is served, 0 for none")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a release holds at one moment. All steps of a request in one process are handed the same object."""

    generation: str | None = None
    """Name of the generation of changes; None for the release as it was made."""
    parts: Mapping[Part, Any] = field(default_factory=dict)

    @property
    def words(self) -> "WordPieces":
        """The tokeniser."""
        part: WordPieces = self.parts["words"]
        return part

    @property
    def index(self) -> "CandidateIndex":
        """What candidates are found with."""
        part: CandidateIndex = self.parts["index"]
        return part

    @property
    def pairs(self) -> "ProductPairs":
        """Word pieces of the products, for the cross-encoder."""
        part: ProductPairs = self.parts["pairs"]
        return part

    @property
    def store(self) -> "ProductStore":
        """Ids and payloads."""
        part: ProductStore = self.parts["store"]
        return part

    @property
    def assortment(self) -> "Assortment":
        """What shelves know of the products."""
        part: Assortment = self.parts["assortment"]
        return part


NOTHING = Snapshot()
"""For steps that read nothing of a release."""


class Release:
    """Some parts of a release, open, with the changes that came since."""

    def __init__(self, folders: Mapping[Files, Path], reads: Collection[Part], *, root: Path | None = None) -> None:
        """Open parts and the newest generation of changes that can be read.

        Args:
            folders: where the files of these parts lie.
            reads: the parts.
            root: folder of the release, beside which its changes lie; None where there can be none.

        Raises:
            ArtefactError: a file of the release is missing or damaged.
        """
        self.root = root
        self._changes = None if root is None else changes.changes_beside(root)
        self._base = self._now = Snapshot(None, _open(folders, reads))
        self._retry, self._failed = 0.0, ""
        self._closed = threading.Event()
        self._take_up(at_start=True)

    @classmethod
    def open(cls, folder: Path, reads: Collection[Part]) -> "Release":
        """Open parts of a release from its own folder, or from the version folder of a model that reads them.

        Raises:
            ArtefactError: it was made for another contract, or a file is missing or damaged.
        """
        folder = folder.resolve()
        whole = (folder / changes.MANIFEST).is_file()
        check_contract(folder, whole=whole)
        if whole:
            number = str(read_manifest(folder)["release"])
            return cls({part: _home(folder, part, number) for part in HOMES}, reads, root=folder)
        root = folder.parent.parent
        folders = {part: folder / SHELF if part == "shelf" else folder for part in HOMES}
        return cls(folders, reads, root=root if (root / changes.MANIFEST).is_file() else None)

    def now(self) -> Snapshot:
        """Return the snapshot that a request which begins now is answered from."""
        return self._now

    def refresh(self) -> None:
        """Take up the newest generation, if there is a new one. One that cannot be read is logged and told by a gauge,
        and what is in force stays.
        """
        self._take_up(at_start=False)

    def watch(self, then: Callable[[], None] = lambda: None) -> None:
        """Have a thread refresh this for as long as the process lives, or until `close`.

        Args:
            then: is called after each look, in that thread.
        """
        threading.Thread(target=self._watch, args=(then,), name="changes", daemon=True).start()

    def close(self) -> None:
        """End the thread of `watch`."""
        self._closed.set()

    def _watch(self, then: Callable[[], None]) -> None:
        while not self._closed.wait(LOOK_S):
            self.refresh()
            try:
                then()
            except Exception:  # or no change would be seen any more
                _LOG.exception("the thread that looks for changes goes on")

    def _take_up(self, *, at_start: bool) -> None:
        if self._changes is None:
            return
        try:
            named = changes.generation(self._changes)
            if named != self._now.generation and (at_start or time.monotonic() >= self._retry):
                self._now = self._opened(named)
            if named == self._now.generation:
                self._failed = ""
                UNREADABLE.set(0)
        except Exception as error:  # requests must be answered, whatever lies in that folder
            self._retry = time.monotonic() + RETRY_S
            if at_start:
                self._now = self._last_good()
            UNREADABLE.set(1)
            if (said := str(error)) != self._failed:
                self._failed = said
                _LOG.error("%s; requests go on with the changes before, generation %s", error, self._now.generation)
        GENERATION.set(float((self._now.generation or "0").split("-")[0]))

    def _opened(self, named: str | None) -> Snapshot:
        """Return the snapshot of a generation, or of the one that took its place while it was being opened.

        Raises:
            ArtefactError: it cannot be read.
        """
        assert self._changes is not None
        assert self.root is not None
        while named is not None:
            folder = self._changes / named
            try:
                changes.check(folder, self.root)
                return Snapshot(named, _with_changes(self._base.parts, folder))
            except ArtefactError:
                failed, named = named, changes.generation(self._changes)
                if named == failed:
                    raise
        return self._base

    def _last_good(self) -> Snapshot:
        """Return the newest generation that can be read, or the release as it was made."""
        assert self._changes is not None
        assert self.root is not None
        for name in changes.kept(self._changes):
            try:
                changes.check(self._changes / name, self.root)
                return Snapshot(name, _with_changes(self._base.parts, self._changes / name))
            except Exception as error:
                _LOG.error("%s; an older generation is tried", error)
        return self._base


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a release.

    Raises:
        ArtefactError: there is none that can be read.
    """
    try:
        manifest = json.loads((folder / changes.MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{folder} is not a release: no readable manifest.json; run python -m build") from error
    if not isinstance(manifest, dict) or "release" not in manifest:
        raise ArtefactError(f"{folder} is not a release: its manifest.json names none; run python -m build")
    return manifest


def check_contract(folder: Path, *, whole: bool) -> None:
    """Hold what a release was made for against the contract of this code.

    Args:
        folder: of the release, or of one version of a model.
        whole: whether it is the release's, whose manifest says so; else a file in the version folder does.

    Raises:
        ArtefactError: it was made for another contract.
    """
    if whole:
        made_for = read_manifest(folder).get("contract")
    else:
        try:
            made_for = (folder / contract.IDENTITY_FILE).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            made_for = None
    if made_for != contract.IDENTITY:
        raise ArtefactError(
            f"{folder} was made for contract {made_for or 'unknown'}, and this code is of {contract.IDENTITY}; build "
            "the release again, or serve it with the code that it was built by"
        )


def _home(folder: Path, part: Files, number: str) -> Path:
    home = folder / HOMES[part] / number
    return home / SHELF if part == "shelf" else home


def _open(folders: Mapping[Files, Path], reads: Collection[Part]) -> dict[Part, Any]:
    # Imported here, so that a process loads the libraries of what it reads alone
    parts: dict[Part, Any] = {}
    if "words" in reads:
        from shelfbridge.wordpieces import WordPieces

        parts["words"] = WordPieces(folders["words"] / "tokenizer.json")
    if "index" in reads:
        from shelfbridge.retrieval import CandidateIndex

        parts["index"] = CandidateIndex.open(folders["index"])
    if "pairs" in reads:
        from shelfbridge.retrieval import ProductPairs

        parts["pairs"] = ProductPairs.open(folders["pairs"])
    if "store" in reads:
        from shelfbridge.retrieval import ProductStore

        parts["store"] = ProductStore.open(folders["store"])
    if "assortment" in reads:
        from shelfbridge.retrieval import Columns, ProductStore
        from shelfbridge.shelf.assortment import Assortment

        parts["assortment"] = Assortment.open(
            folders["shelf"],
            parts["index"] if "index" in parts else Columns.open(folders["index"]),
            parts["store"] if "store" in parts else ProductStore.open(folders["store"]),
            ProductStore.numbers(folders["store"]),
        )
    lengths: dict[str, int] = {part: len(one) for part, one in parts.items() if part != "words"}
    if len(lengths) > 1:
        from shelfbridge.retrieval.ragged import check_lengths

        check_lengths("parts of the release", lengths)
    return parts


def _with_changes(base: Mapping[Part, Any], folder: Path) -> dict[Part, Any]:
    """Return the parts of a release and a generation of its changes as one."""
    parts: dict[Part, Any] = {
        part: opened.with_changes(folder) if part in ("index", "pairs", "store") else opened
        for part, opened in base.items()
    }
    if "assortment" in base:
        parts["assortment"] = base["assortment"].with_changes(folder, parts.get("index"), parts.get("store"))
    return parts
