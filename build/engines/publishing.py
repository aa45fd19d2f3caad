"""A release with engines, made of one without: a new folder beside it, published by the same atomic step.

Files are hard links to those of the release that it was made of; what differs (configs, manifest) is written anew, for
a link shares its content with what is being served.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from build.engines import configs
from build.engines.buckets import Histogram, Profile
from build.release.publish import hard_link, make_current, next_number, verify, write_manifest
from build.workspace import locked, unfinished
from shelfbridge.changes import changes_beside, generation, write_record
from shelfbridge.engine import Precision
from shelfbridge.errors import ArtefactError
from shelfbridge.release import read_manifest

MODELS = ("encoder", "ranker", "cross_encoder")
OF_SHELF = ("user_encoder", "shelf_ranker")
"""What has engines: the models of searches, and those of a shelf where a release has one."""
OWN = ("release", "files")
"""Entries of a manifest that are of one release only. Its tools stay: they made all but the engines."""
NO_MASTERS = {
    "fp16": "the quick preset writes none: build the release by python -m build --preset full",
    "int8": "build the release by python -m build without --precision fp32",
    "fp32": "build the release again",
}
"""What to do where a release lacks the masters of a precision."""


def publish_engines(
    source: Path,
    engines: Mapping[str, Path],
    profiles: Mapping[str, tuple[Profile, ...]],
    lengths: Mapping[str, Histogram],
    about: Mapping[str, Any],
) -> Path:
    """Publish the next release: `source` with engines.

    Args:
        source: folder of a release, the current one.
        engines: by model, the folder of the stage that built its engine.
        about: what the manifest tells of the engines.

    Raises:
        ArtefactError: another release was published meanwhile, or a file was changed; what was current stays current.
    """
    releases = source.parent
    with unfinished(releases) as folder:
        if (releases / "current").resolve() != source.resolve():
            raise ArtefactError(
                f"{releases / 'current'} is another release than {source.name}, which the engines were built for; "
                "build them again"
            )
        before, number = verify(source), next_number(releases)
        copy_release(source, folder, before["release"], number)
        for model, engine in engines.items():
            here = folder / model / str(number)
            for left in here.glob("engine*.json"):
                left.unlink()
            shutil.copytree(engine, here, copy_function=_replace, dirs_exist_ok=True)
            configs.adapt(folder / model / "config.pbtxt", profiles[model], lengths)
        kept = {key: value for key, value in before.items() if key not in OWN}
        write_manifest(folder, number=number, about={**kept, "engines": {**about, "of_release": before["release"]}})
        verify(folder)
        with locked(changes_beside(source)):  # nothing is changed between the copy and the moment it goes live
            carry_changes(source, folder, changes_beside(releases / str(number)))
            return make_current(folder, number)


def carry_changes(source: Path, release: Path, changes: Path) -> None:
    """Give a release of the same rows the changes that `source` has, if any.

    Args:
        release: its folder, complete.
        changes: where its own are to lie.
    """
    named = generation(changes_beside(source))
    if named is None:
        return
    made = changes / str(named)
    shutil.copytree(changes_beside(source) / str(named), made)
    write_record(made, release)
    (changes / "current").symlink_to(str(named))


def copy_release(source: Path, folder: Path, old: int, number: int) -> None:
    """Fill `folder` with a release under another number: links, but for the configs and the manifest."""

    def link_or_copy(file: str, target: str) -> object:
        return shutil.copy2(file, target) if file.endswith(".pbtxt") else hard_link(file, target)

    shutil.copytree(
        source,
        folder,
        copy_function=link_or_copy,
        ignore=shutil.ignore_patterns("manifest.json", "__pycache__"),
        dirs_exist_ok=True,
    )
    for version in folder.glob(f"*/{old}"):
        version.rename(version.with_name(str(number)))


def source_release(release: Path) -> tuple[Path, dict[str, Any]]:
    """A release's folder and its manifest, checked.

    Raises:
        ArtefactError: it is not whole, or not the current one of its folder.
    """
    folder = release.resolve()
    manifest = verify(folder)
    if (folder.parent / "current").resolve() != folder:
        raise ArtefactError(f"{folder} is not the current release of {folder.parent}; give that one (…/current)")
    return folder, manifest


UNQUANTISED = ("shelf_ranker",)
"""Too small to gain by int8: their engines are fp16 beside int8 ones."""


def precision_of(master: Path) -> Precision:
    """Of the engine that is built from a master."""
    return "int8" if master.stem == "int8" else "fp16"


def masters(source: Path, precision: str, models: tuple[str, ...]) -> dict[str, Path]:
    """The ONNX masters of a release by model; those of fp32 are what the others were made of.

    Raises:
        ArtefactError: one is missing.
    """
    number = str(read_manifest(source)["release"])
    found = {model: source / model / number / f"{_form(model, precision)}.onnx" for model in models}
    for path in found.values():
        if not path.is_file():
            raise ArtefactError(f"{path} is missing: this release has no {precision} masters; {NO_MASTERS[precision]}")
    return found


def _form(model: str, precision: str) -> str:
    return "fp16" if model in UNQUANTISED and precision == "int8" else precision


def _replace(source: str, target: str) -> object:
    """A link in place of whatever is there; never a write through it."""
    Path(target).unlink(missing_ok=True)
    return hard_link(source, target)
