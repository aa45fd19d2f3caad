"""Commands and Python examples of README and docs run as they are printed, against a real server, page by page.

Each page has a folder of its own to work in, which is not the project's. There, `.venv/bin/python` is this Python, and
the files that the pages speak of exist: a shop's data, and three releases of a tiny repository whose product ids are
those of the pages. Nothing of a command is changed but the ports.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deploy.embedded import EmbeddedServer, EmbeddedSettings
from deploy.hybrid.topology import EXAMPLE
from deploy.security.__main__ import main as security
from shelfbridge.catalogue import Product
from tests.functional import tiny
from tests.functional.conftest import free_ports
from tests.functional.tiny_release import publish_tiny
from tests.gateway.conftest import free_block
from tests.pages import PAGES, PYTHON, ROOT, Block, Command, blocks, commands

EVENTS = ({"event_id": "e1", "user": "u7", "kind": "view", "product_id": "SB00012"},)


@dataclass(frozen=True)
class Place:
    """A folder to work in, and where servers are."""

    folder: Path
    ports: Mapping[str, int]
    """Real port by the port that the pages print."""
    settings: Mapping[str, str]
    """Environment variables."""

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run lines of a shell."""
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", self.moved(text)],
            cwd=self.folder,
            env={**_environment(), **self.settings},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def moved(self, text: str) -> str:
        """The text with the real ports; a change asks the server at the usual one where none is named."""
        text = text.replace("-m build.change ", "-m build.change --server localhost:8001 ")
        return re.sub(
            r"(localhost:|-port )(\d{4})\b", lambda found: found[1] + str(self.ports.get(found[2], found[2])), text
        )

    def tried(self, parts: list[Command | Block]) -> list[str]:
        """Run commands and examples in their order; return what went wrong."""
        wrong = []
        for part in parts:
            if isinstance(part, Command):
                done = self.run(part.text)
            else:
                (self.folder / "example.py").write_text(self.moved(part.text))
                done = self.run(f"{PYTHON} example.py")
            if done.returncode:
                wrong.append(f"{part} ended with {done.returncode}: {done.stdout[-300:]} {done.stderr[-1500:]}")
        return wrong


def _environment() -> dict[str, str]:
    """This process's, without settings of the project's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SHELFBRIDGE_")}


@pytest.fixture(scope="module")
def products() -> Iterator[list[Product]]:
    """The tiny catalogue under ids that the pages name, every fourth from SB00000."""
    with pytest.MonkeyPatch.context() as patch:
        plain = tiny.catalogue()
        named = [one.model_copy(update={"product_id": f"SB{4 * row:05d}"}) for row, one in enumerate(plain)]
        patch.setattr(tiny, "catalogue", lambda: named)
        yield named


@pytest.fixture(scope="module")
def served(products: list[Product], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release that the server answers from."""
    return publish_tiny(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def answering(served: Path, make_settings: Callable[..., EmbeddedSettings]) -> Iterator[EmbeddedServer]:
    """A server of it, left running by all pages."""
    with EmbeddedServer(make_settings(served)) as running:
        yield running


@pytest.fixture
def place(served: Path, products: list[Product], tmp_path: Path) -> Place:
    """A folder with all that the pages speak of, and no server."""
    python = tmp_path / PYTHON
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    _write_shop(tmp_path, products)
    releases = tmp_path / "out/releases"
    for number in ("1", "2"):
        shutil.copytree(served, releases / number, ignore=shutil.ignore_patterns("__pycache__"))
    (releases / "current").symlink_to(served)
    assert security(["keys", "--out", str(tmp_path / "out/security")]) == 0
    return Place(tmp_path, {}, {})


@pytest.fixture
def beside(place: Place, answering: EmbeddedServer) -> Place:
    """The same beside a server."""
    at = answering.settings
    real = {"8001": at.grpc_port, "9001": at.grpc_port, "8000": at.http_port, "8002": at.metrics_port}
    settings = {"SHELFBRIDGE_ADDRESS": answering.address, "SHELFBRIDGE_RUN_DIR": str(at.run_dir)}
    return replace(place, ports=real, settings=settings)


def _write_shop(folder: Path, products: list[Product]) -> None:
    """Files of a shop, as the pages name them."""
    with (folder / "products.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("product_id", "title", "brand", "price"))
        rows.writerows((one.product_id, one.title, one.brand, one.price) for one in products)
    with (folder / "judgments.tsv").open("w", newline="") as file:
        rows = csv.writer(file, delimiter="\t")
        rows.writerow(("query_id", "query", "product_id", "label"))
        rows.writerows((row, one.title, one.product_id, "E") for row, one in enumerate(products))
    (folder / "queries.tsv").write_text("1\tred running shoes\n2\tdesk lamp\n")
    (folder / "changed.jsonl").write_text(json.dumps({"product_id": "SB90001", "title": "folding camping kettle"}))
    (folder / "events.jsonl").write_text("\n".join(json.dumps({**event, "time": time.time()}) for event in EVENTS))
    for block in blocks("toml"):
        if name := re.match(r"# (\S+\.toml)\n", block.text):
            (folder / name[1]).write_text(block.text)


def of(page: Path, *hows: str, gateway: bool = False) -> list[Command | Block]:
    """A page's commands that are run so, and its Python examples, in their order.

    Args:
        gateway: whether those that need one are among them.
    """
    typed = [(one.block.line, place, one) for place, one in enumerate(commands()) if one.block.page == page]
    chosen = [(line, place, one) for line, place, one in typed if one.how in hows]
    examples = [(block.line, 0, block) for block in blocks("python") if block.page == page]
    parts = [part for *_, part in sorted([*chosen, *examples], key=lambda part: part[:2])]
    return [part for part in parts if gateway or "localhost:8443" not in part.text]


@pytest.mark.parametrize("page", [page for page in PAGES if of(page, "run")], ids=lambda page: page.name)
def test_runs_in_another_folder(page: Path, beside: Place) -> None:
    if "deploy.security keys" in page.read_text(encoding="utf-8"):
        shutil.rmtree(beside.folder / "out/security")  # the page itself makes them
    assert not beside.tried(of(page, "run"))


@pytest.mark.slow
class TestServers:
    """Pages whose commands start and end servers, from their first line to their last."""

    @pytest.fixture
    def alone(self, place: Place) -> Iterator[Place]:
        """Where servers get free ports and a run folder in this place."""
        real = free_ports(6)
        names = ("GRPC", "HTTP", "METRICS")
        settings = {f"SHELFBRIDGE_{name}_PORT": str(port) for name, port in zip(names, real, strict=False)}
        settings |= {
            "SHELFBRIDGE_RUN_DIR": str(place.folder / "out/server"),
            "SHELFBRIDGE_ADDRESS": f"localhost:{real[0]}",
        }
        printed = ("8001", "8000", "8002", "9001", "9000", "9002")
        here = replace(place, ports=dict(zip(printed, real, strict=True)), settings=settings)
        yield here
        for folder in ("server", "green"):
            here.run(f"{PYTHON} -m deploy.embedded down --run-dir out/{folder}")

    def test_upgrade_and_rollback(self, alone: Place) -> None:
        parts = of(ROOT / "docs/upgrade_and_rollback.md", "run", "start")
        begun = next(place for place, part in enumerate(parts) if "deploy.security sign" in part.text)
        _point_to(alone, "1")
        assert not alone.tried(parts[:begun])
        _point_to(alone, "2")  # as the build does, which the page runs here
        assert _served(alone) == "1"
        assert not alone.tried(parts[begun:])
        assert _served(alone) == "1"

    def test_two_sites(self, place: Place) -> None:
        shutil.rmtree(place.folder / "out/security")
        ports = free_ports(1)
        topology = place.folder / "topology.toml"
        text = EXAMPLE.read_text().replace('"out/', f'"{place.folder}/out/').replace("8443", str(ports[0]))
        first = free_block(6)
        text = text.replace("18001", str(first)).replace("18011", str(first + 3))
        topology.write_text(text.replace("[wan] ", '[wan]\nkind = "relay" '))
        settings = {
            "SHELFBRIDGE_TOPOLOGY": str(topology),
            "SHELFBRIDGE_AUDIT_FOLDER": str(place.folder / "out/audit"),
            "SHELFBRIDGE_AUDIT_KEY": str(place.folder / "out/security/audit.key"),
        }
        here = replace(place, ports={"8443": ports[0]}, settings=settings)
        try:
            assert not here.tried(of(ROOT / "docs/two_sites.md", "run", "start", gateway=True))
        finally:
            here.run(f"{PYTHON} -m deploy.hybrid down")


def _point_to(place: Place, release: str) -> None:
    current = place.folder / "out/releases/current"
    current.unlink()
    current.symlink_to(release)


def _served(place: Place) -> str:
    said = place.run(f"{PYTHON} -m deploy.embedded status").stdout
    return re.search(r"^Release \S+/(\d+)$", said, re.MULTILINE)[1]
