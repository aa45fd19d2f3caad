"""Which version of a model answered: the gateway reads requests, not answers, and most requests name none."""

from collections.abc import Mapping
from pathlib import Path

from shelfbridge.errors import ArtefactError

Versions = Mapping[str, Mapping[str, str]]
"""Version by site and model."""


def served(release: Path) -> dict[str, str]:
    """The version of each model that Triton serves of a release where a request names none: the newest.

    Raises:
        ArtefactError: there is no model.
    """
    found: dict[str, int] = {}
    for folder in release.glob("*/[0-9]*"):
        if folder.name.isdigit():
            found[folder.parent.name] = max(int(folder.name), found.get(folder.parent.name, 0))
    if not found:
        raise ArtefactError(f"{release} holds no model; name the folder of the release that the site serves")
    return {model: str(version) for model, version in found.items()}
