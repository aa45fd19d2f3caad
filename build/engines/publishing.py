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
from build.release.later import asked_again, write_asked_again
from build.release.publish import hard_link, make_current, next_number, verify, write_manifest
from build.workspace import locked, unfinished
from shelfbridge.changes import changes_beside, generation, write_record
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
NO_PLACE = (
    "the model has no int8 master either, most often because int8 did not pass (manifest.json says why under "
    "decisions); build the release by python -m build --preset full, which writes fp16 masters too, or allow more loss "
    "with --budget"
)
"""The same where only some of them are lacking."""


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
    if again := asked_again(changes_beside(source)):
        write_asked_again(changes, again)
    (changes / "current").symlink_to(str(named))


def copy_release(source: Path, folder: Path, old: int, number: int) -> None:
    """Fill `folder` with a release under another number: links, but for the configs and the manifest."""
    ignore = shutil.ignore_patterns("manifest.json", "__pycache__", "*.pbtxt")
    shutil.copytree(source, folder, copy_function=hard_link, ignore=ignore, dirs_exist_ok=True)
    for config in source.rglob("*.pbtxt"):
        shutil.copy2(config, folder / config.relative_to(source))
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


def masters(source: Path, precision: str, models: tuple[str, ...]) -> dict[str, Path]:
    """The ONNX masters of a release by model; those of fp32 are what the others were made of.

    In a release with int8 masters, a model that has none (its int8 form did not pass when the release was built, or it
    is too small to gain by one) gets its fp16 master in their place.

    Raises:
        ArtefactError: one is missing.
    """
    folders = {model: source / model / str(read_manifest(source)["release"]) for model in models}
    found = {model: folder / f"{precision}.onnx" for model, folder in folders.items()}
    cure = f"this release has no {precision} masters; {NO_MASTERS[precision]}"
    if precision == "int8" and any(path.is_file() for path in found.values()):
        found = {model: path if path.is_file() else path.with_name("fp16.onnx") for model, path in found.items()}
        cure = NO_PLACE
    for path in found.values():
        if not path.is_file():
            raise ArtefactError(f"{path} is missing: {cure}")
    return found


def _replace(source: str, target: str) -> object:
    """A link in place of whatever is there; never a write through it."""
    Path(target).unlink(missing_ok=True)
    return hard_link(source, target)
