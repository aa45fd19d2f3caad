"""A real server of a signed release, which can be started again, but not once it was altered."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from build.release.publish import write_manifest
from deploy.embedded import EmbeddedServer, EmbeddedSettings
from deploy.embedded.server import Status
from deploy.security import signing
from deploy.security.keys import write_new
from deploy.security.new_keys import make_keys
from shelfbridge.errors import ArtefactError
from tests.functional.tiny import write_repository
from tests.functional.wire import Wire


def test_served_as_signed_and_refused_once_altered(
    tmp_path: Path, make_settings: Callable[..., EmbeddedSettings]
) -> None:
    write_new(tmp_path, make_keys())
    release = write_repository(tmp_path / "release")
    write_manifest(release, number=1, about={})
    signing.sign(release, tmp_path / "release.key")
    settings = make_settings(release, "apart").model_copy(update={"release_key": tmp_path / "release.pub"})
    for _ in range(2):
        with EmbeddedServer(settings) as server:
            wire = Wire(server.address)
            assert wire.search("red running shoes").ids
            wire.close()

    shutil.copytree(release / "preprocess/1", release / "preprocess/2")
    with pytest.raises(ArtefactError, match=r"preprocess/2/.* is not of the release"):
        server.up()
    assert server.status() == Status(running=False)
