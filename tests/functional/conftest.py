"""Two real Tritons for all functional tests, one after the other: the steps of a search together, and apart."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pytest

from deploy.embedded import EmbeddedServer, EmbeddedSettings
from tests.functional.tiny import write_repository
from tests.functional.wire import Answer, Wire

Steps = Literal["together", "apart"]
apart = pytest.mark.parametrize("server", ["apart"], indirect=True)
"""Of a test that calls the models inside an ensemble."""
GOOD = (
    ("red running shoes", {}),
    ("green usb cable 64gb birch", {"k": 3}),
    ("lamp", {"k": 5, "filters": '{"category": "desk lamp", "price_max": 20}'}),
)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model repository under test."""
    return write_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="session")
def make_settings(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., EmbeddedSettings]:
    """Settings for a server of its own: free ports, a new run folder."""

    def make(repository: Path, steps: Steps = "together") -> EmbeddedSettings:
        grpc_port, http_port, metrics_port = free_ports(3)
        return EmbeddedSettings(
            repository=repository,
            steps=steps,
            run_dir=tmp_path_factory.mktemp("run"),
            grpc_port=grpc_port,
            http_port=http_port,
            metrics_port=metrics_port,
        )

    return make


@pytest.fixture(scope="session", params=["together", "apart"])
def server(
    request: pytest.FixtureRequest, repository: Path, make_settings: Callable[..., EmbeddedSettings]
) -> Iterator[EmbeddedServer]:
    """A server of the repository."""
    with EmbeddedServer(make_settings(repository, request.param)) as running:
        yield running


@pytest.fixture(scope="session")
def wire(server: EmbeddedServer) -> Iterator[Wire]:
    """A channel to the server."""
    wire = Wire(server.address)
    yield wire
    wire.close()


@pytest.fixture
def unharmed(server: EmbeddedServer, wire: Wire) -> Iterator[None]:
    """Whatever the test sends, good requests before, beside and after it get the same answers."""
    expected = [wire.search(query, **options) for query, options in GOOD]
    stop = threading.Event()
    beside: list[list[Answer]] = []

    def go_on() -> None:
        own = Wire(server.address)
        while not stop.is_set():
            beside.append([own.search(query, **options) for query, options in GOOD])
        own.close()

    with ThreadPoolExecutor(1) as pool:
        going_on = pool.submit(go_on)
        yield
        while not beside and not going_on.done():
            stop.wait(0.01)
        stop.set()
        going_on.result()
    after = [wire.search(query, **options) for query, options in GOOD]
    for answers in (*beside, after):
        for found, wanted in zip(answers, expected, strict=True):
            assert_same(found, wanted)


def assert_same(found: Answer, wanted: Answer) -> None:
    """Equal answers: the scores but for the last bits, as another padding may change the order of a sum."""
    assert found.ids == wanted.ids
    assert found.scores == pytest.approx(wanted.scores, rel=1e-5)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
