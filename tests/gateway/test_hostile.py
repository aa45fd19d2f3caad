"""Hostile requests at real sites through a real gateway, a short form of `make fuzz`: nothing breaks."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from build.progress import progress
from deploy.hybrid import Topology
from loadtests.fuzz.__main__ import broken, fuzz
from loadtests.fuzz.grammar import attacks
from loadtests.hybrid.cloud import Cloud

pytestmark = pytest.mark.slow


def test_nothing_breaks(own: Callable[[str], Topology], tmp_path: Path) -> None:
    with Cloud(own("fuzz"), tmp_path / "security") as cloud, progress(Console(stderr=True)) as bar:
        found = fuzz(cloud, list(attacks(400, 3)), ["red running shoes", "lamp"], tmp_path / "others", bar)
    found["growth_mb"] = {}  # too few requests to tell
    assert broken(found) == []
    assert found["others"]["gateway, beside attacks"]["count"] > 10
    assert found["ends"]["a token that opens nothing"]["gateway"].keys() == {"UNAUTHENTICATED"}
