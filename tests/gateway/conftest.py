"""Two real Tritons and a real Envoy for all tests of the gateway; a test takes the gateway up with its own policies."""

import contextlib
import datetime
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.gateway import Gateway
from deploy.hybrid import Hybrid, Topology
from deploy.security.__main__ import main as security
from deploy.security.tokens import make_token
from shelfbridge.client import TLS, SearchClient
from tests.functional.tiny import write_repository

CAPACITY = 8
Open = Callable[..., AbstractContextManager[Gateway]]


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of certificates, keys and the JWKS."""
    folder = tmp_path_factory.mktemp("security")
    key, jwks = str(folder / "token.key"), str(folder / "jwks.json")
    for command in (
        ["ca", "--out", str(folder)],
        ["keys", "--out", str(folder)],
        ["jwks", "--key", key, "--out", jwks],
    ):
        assert security(command) == 0
    return folder


@pytest.fixture(scope="session")
def topology(tmp_path_factory: pytest.TempPathFactory, secrets: Path) -> Topology:
    folder = tmp_path_factory.mktemp("hybrid")
    release, port = write_repository(folder / "release"), free_block(9)
    site = {"release": release, "processes": 2, "result_cache": 0, "price_per_hour": 1, "capacity": CAPACITY}
    return Topology.model_validate(
        {
            "run_dir": folder / "run",
            "gateway": {"port": port},
            "private": {**site, "port": port + 1},
            "public": {**site, "port": port + 4},
            "wan": {"kind": "relay", "rtt_ms": 4},
            "security": {"certificates": secrets, "jwks": secrets / "jwks.json"},
        }
    )


@pytest.fixture(scope="session")
def own(topology: Topology, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Topology]:
    """Makes topologies beside that of the other tests: other ports, another run folder."""

    def make(name: str) -> Topology:
        port = free_block(9)
        sites = {
            site: getattr(topology, site).model_copy(update={"port": port + place})
            for site, place in (("private", 1), ("public", 4))
        }
        front = topology.gateway.model_copy(update={"port": port})
        return topology.model_copy(update={"run_dir": tmp_path_factory.mktemp(name), "gateway": front, **sites})

    return make


@pytest.fixture(scope="session")
def hybrid(topology: Topology) -> Iterator[Hybrid]:
    with Hybrid(topology) as running:
        yield running


@pytest.fixture
def gateway(hybrid: Hybrid) -> Open:
    """Takes the gateway up anew, with other settings than the topology's: `gateway(policies={...}, limits={...})`."""

    @contextmanager
    def opened(**changes: dict[str, Any]) -> Iterator[Gateway]:
        hybrid.gateway.down()
        groups = {name: getattr(hybrid.gateway.settings, name).model_copy(update=new) for name, new in changes.items()}
        with Gateway(hybrid.gateway.settings.model_copy(update=groups)) as running:
            yield running

    return opened


@pytest.fixture(scope="session")
def token(secrets: Path) -> Callable[..., str]:
    def make(*roles: str, residency: str | None = "public-ok", seconds: float = 3600, subject: str = "shop") -> str:
        expires = datetime.timedelta(seconds=seconds)
        return make_token(
            secrets / "token.key", subject=subject, roles=roles or ("search",), residency=residency, expires=expires
        )

    return make


@pytest.fixture
def client(hybrid: Hybrid, secrets: Path, token: Callable[..., str]) -> Callable[..., Any]:
    """Makes a client of the gateway, a `SearchClient` if not another kind, that sends nothing twice."""

    def make(kind: type[Any] = SearchClient, **options: Any) -> Any:
        given = {"token": token(), "retries": 0, "timeout": 5.0, **options}
        address = f"localhost:{hybrid.topology.gateway.port}"
        return kind(address, tls=TLS(secrets / "ca.crt"), **given)

    return make


@contextmanager
def frozen(pid: int | None) -> Iterator[None]:
    """Stop a process for a while, as a hung machine would be."""
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def free_block(count: int) -> int:
    """The first of neighbouring ports that nobody listens on."""
    for first in range(21000, 30000, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports")
