"""A release: a whole model repository, checked, then published by one atomic step.

    releases/
      3/                      model repository, as Triton loads it; every model's version folder is named 3
        manifest.json         sha256 of every file, what it was made from: data, settings, tools; its figures
        model_card.md         the same to read
        search/ … postprocess/
      current -> 3

What is being served is never edited: a new release is a new folder, and `current` is a link that is swapped.
"""

import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from build.evaluation.offline import Ensembles
from build.release.record import CARD, card
from build.workspace import file_digest, tree_digest, unfinished
from shelfbridge import configs, contract
from shelfbridge.changes import MANIFEST, changes_beside, sync, sync_all
from shelfbridge.errors import ArtefactError
from shelfbridge.pipeline import STEPS
from shelfbridge.release import HOMES, SHELF, Files, read_manifest
from shelfbridge.retrieval import ProductStore

SOURCES = Path(__file__).parents[2] / "model_repository"
PRODUCT_ENCODER = "product_encoder.onnx"
"""The graph that the products were encoded with: that of the queries may be a student's."""
TOOLS = (
    *("torch", "transformers", "lightgbm", "onnx", "onnxruntime", "nvidia-modelopt"),
    *("faiss-cpu", "rapidfuzz", "numpy"),
)


def assemble(
    folder: Path,
    *,
    number: int,
    parts: Mapping[str, Path],
    about: Mapping[str, Any],
    extra: Mapping[str, Path] = MappingProxyType({}),
) -> None:
    """Put a model repository together in `folder` and write its manifest.

    Args:
        number: of the release, the version of every model in it.
        parts: per model, the stage whose result goes into its version folder.
        about: what the manifest tells beside files and tools.
        extra: files for the release's own folder, by their names there.
    """
    for model in models_of(parts):
        home = folder / model
        shutil.copytree(SOURCES / model, home, ignore=shutil.ignore_patterns("model.py", "__pycache__"))
        here = home / str(number)
        here.mkdir()
        if (SOURCES / model / "model.py").exists():
            shutil.copy(SOURCES / model / "model.py", here)
            (here / contract.IDENTITY_FILE).write_text(contract.IDENTITY + "\n", encoding="utf-8")
        for source, target, unread in files_of(model, parts, here):
            ignore = shutil.ignore_patterns(*unread)
            shutil.copytree(source, target, copy_function=hard_link, dirs_exist_ok=True, ignore=ignore)
    for name, file in extra.items():
        hard_link(file, folder / name)
    configs.set_width(folder, embedding_width(folder / "encoder" / str(number) / "model.onnx"))
    write_manifest(folder, number=number, about=about)


def files_of(model: str, parts: Mapping[str, Path], here: Path) -> Iterator[tuple[Path, Path, tuple[str, ...]]]:
    """Iterate over the folders whose files a model reads, where each lies in its version folder, and what is left out.

    A model finds all that it reads in its own folder, so that Triton can load it from a bucket; the files are links.
    """
    if model in parts:
        yield parts[model], here / SHELF if model == HOMES["shelf"] else here, ()
    step = STEPS.get(model)
    for part in step.reads if step else ():
        homes: tuple[Files, ...] = ("shelf", "index", "store") if part == "assortment" else (part,)
        for home in homes:
            if HOMES[home] != model and HOMES[home] in parts:
                unread = ("tokens*", "lexicon", "scale.npy") if home == "index" and part == "assortment" else ()
                yield parts[HOMES[home]], here / SHELF if home == "shelf" else here, unread


def models_of(parts: Mapping[str, Path]) -> list[str]:
    """The models of a release made from these parts: without a shelf's, those that only serve one are left out."""
    return [model for model in contract.MODELS if model not in contract.OF_SHELVES or "shelf_candidates" in parts]


def write_manifest(folder: Path, *, number: int, about: Mapping[str, Any]) -> None:
    """Write the manifest of the release in `folder`, over all the files that it holds, and its model card."""
    manifest = {
        "release": number,
        "contract": contract.IDENTITY,
        "tools": {"python": platform.python_version(), **{name: version(name) for name in TOOLS}},
        **about,
    }
    if "figures" in about:
        (folder / CARD).unlink(missing_ok=True)  # it may be a link to that of another release
        (folder / CARD).write_text(card(manifest), encoding="utf-8")
    files = {
        str(p.relative_to(folder)): file_digest(p)
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p != folder / MANIFEST
    }
    (folder / MANIFEST).write_text(json.dumps({**manifest, "files": files}, indent=2) + "\n")


def publish(
    releases: Path,
    *,
    parts: Mapping[str, Path],
    about: Mapping[str, Any],
    extra: Mapping[str, Path] = MappingProxyType({}),
    since: float | None = None,
) -> Path:
    """Assemble the next release, verify it, and make it current.

    An equal current release is kept, if its figures are these and nothing was changed of it before `since`.

    Args:
        since: when the catalogue was written, seconds since 1970. What was changed later of the release that is current
            is changed of the new one too, in the moment in which it goes live. None leaves all changes behind.

    Returns:
        Folder of the release.

    Raises:
        ArtefactError: the new release does not load; what was current stays current.
        DataError: too much was changed since the catalogue was written.
    """
    from build.release.live import carried, outdated  # which read releases

    current = releases / "current"
    made_from = {model: f"{part.parent.name}/{part.name}" for model, part in parts.items()}
    made_from["model_repository"] = tree_digest(SOURCES)
    with unfinished(releases) as folder:  # alone from here on: another build may have published the same meanwhile
        figures = json.dumps(about.get("figures"))  # as text, in which what could not be measured is equal to itself
        kept = _holds(current, made_from, parts) and json.dumps(read_manifest(current).get("figures")) == figures
        if kept and not (since is not None and outdated(current, since)):
            return current.resolve()
        number = next_number(releases)
        assemble(folder, number=number, parts=parts, about={**about, "made_from": made_from}, extra=extra)
        verify(folder)
        open_release(folder).rankings("a first search")
        with carried(current, folder, since) as changes:
            return make_current(folder, number, changes)


def next_number(releases: Path) -> int:
    """The number of the release after all that are there, or that were and left their changes."""
    names = (path.name.removesuffix(".changes") for path in releases.iterdir())
    return 1 + max((int(name) for name in names if name.isdigit()), default=0)


def make_current(folder: Path, number: int, changes: Path | None = None) -> Path:
    """Give an unfinished release its name and let `current` point to it, in one step.

    All of it is on disk before `current` moves, so that a power failure leaves this release or the one before.

    Args:
        folder: of the release.
        number: of the release.
        changes: folder of what was changed of it already, if anything.

    Returns:
        Its folder from now on.
    """
    releases = folder.parent
    sync_all(folder)
    if changes is not None:
        changes.rename(changes_beside(releases / str(number)))
    release = folder.rename(releases / str(number))
    sync(releases)
    link = releases / ".next"
    link.unlink(missing_ok=True)
    link.symlink_to(str(number))
    link.replace(releases / "current")
    sync(releases)
    return release


def _holds(release: Path, made_from: Mapping[str, str], parts: Mapping[str, Path]) -> bool:
    """Whether a release is there, made from this for this contract, and whole.

    A stage that ran again may have made other files.
    """
    try:
        manifest = verify(release)
    except ArtefactError:
        return False
    files, number = manifest["files"], manifest["release"]
    homes = {model: f"{model}/{number}" + (f"/{SHELF}" if model == HOMES["shelf"] else "") for model in parts}
    if manifest["made_from"] != made_from or manifest.get("contract") != contract.IDENTITY:
        return False
    return all(
        files.get(f"{homes[model]}/{file.relative_to(part)}") == file_digest(file)
        for model, part in parts.items()
        for file in part.rglob("*")
        if file.is_file()
    )


def verify(release: Path) -> dict[str, Any]:
    """The manifest of a release whose files are as they were written.

    Raises:
        ArtefactError: the manifest or a file is missing or was changed.
    """
    manifest = read_manifest(release)
    for name, digest in manifest["files"].items():
        file = release / name
        if not file.is_file() or file_digest(file) != digest:
            raise ArtefactError(f"{file} is missing or was changed since the release was made; build it again")
    return manifest


def open_release(release: Path) -> Ensembles:
    """All steps of a release, to be run in this process."""
    number = str(read_manifest(release)["release"])
    ProductStore.open(release / "postprocess" / number)
    return Ensembles.open(
        tokenizer=release / "preprocess" / number,
        graph=release / "encoder" / number,
        index=release / "retrieve" / number,
        ranker_graph=release / "ranker" / number,
        pieces=release / "shortlist" / number,
        reader_graph=release / "cross_encoder" / number,
    )


def hard_link(source: str | Path, target: str | Path) -> str | Path:
    """A hard link where the disk allows, else a copy: neither stage results nor releases are ever edited."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def embedding_width(graph: Path) -> int:
    """Width of the embedding that an encoder's graph gives.

    Raises:
        ArtefactError: the file is missing or damaged.
    """
    try:
        outputs = onnx.load(graph, load_external_data=False).graph.output
    except (OSError, DecodeError) as error:
        raise ArtefactError(f"{graph} cannot be read ({error}); build it again") from error
    (embedding,) = (output for output in outputs if output.name == contract.EMBEDDING.name)
    return int(embedding.type.tensor_type.shape.dim[1].dim_value)
