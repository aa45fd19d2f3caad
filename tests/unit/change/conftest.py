import shutil
from pathlib import Path

import pytest

from tests.functional.tiny_release import publish_tiny
from tests.unit.change.changed_shop import Shop


@pytest.fixture(scope="session")
def original(tmp_path_factory) -> Path:
    return publish_tiny(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def release(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "1")
    return tmp_path / "1"


@pytest.fixture
def shop(release: Path) -> Shop:
    return Shop(release)
