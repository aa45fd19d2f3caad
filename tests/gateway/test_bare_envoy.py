"""What the gateway is measured beside: an Envoy that passes everything on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.hybrid import Hybrid
from loadtests.gateway.ways import Bare
from shelfbridge.client import TLS, SearchClient
from shelfbridge.errors import PermissionRefused
from tests.gateway.conftest import free_block


def test_it_asks_for_no_token(
    hybrid: Hybrid, client: Callable[..., SearchClient], secrets: Path, tmp_path: Path
) -> None:
    port = free_block(1)
    settings = hybrid.gateway.settings.model_copy(update={"run_dir": tmp_path, "port": port})
    passing = SearchClient(f"localhost:{port}", tls=TLS(secrets / "ca.crt"))
    with Bare(settings), passing, client() as judged:
        assert passing.search("red running shoes").hits == judged.search("red running shoes").hits
    with client(token=None) as refused, pytest.raises(PermissionRefused):
        refused.search("red running shoes")
