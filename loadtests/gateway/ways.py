"""The ways that a search can take to one Triton, all open at a time so that they are measured beside each other."""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy.hybrid import Topology
from loadtests.gateway.bare import Bare
from loadtests.hybrid.cloud import Cloud
from shelfbridge.client import TLS, SearchClient

DIRECT, BARE, STAYS, GATEWAY = "direct", "bare Envoy", "gateway, must stay", "gateway"
WAYS = {
    DIRECT: "to the private site, with the gateway's certificate",
    BARE: "through an Envoy with TLS on both sides that judges nothing: one hop",
    STAYS: "through the gateway with a token whose searches stay private: one hop",
    GATEWAY: "through the gateway with a token whose searches may burst: two hops",
}
ALIKE = {"processes": 1, "result_cache": 0, "query_cache": 0, "cores": ()}
Ask = Callable[[str], object]


@contextmanager
def opened(topology: Topology, folder: Path) -> Iterator[Mapping[str, Ask]]:
    """Take up both sites and the gateway.

    Args:
        topology: where. Its sites get one process each and all cores, and keep no answers: each way has the same to do.
        folder: to make, of credentials.

    Yields:
        A search by each of `WAYS`.

    Raises:
        ShelfbridgeError: a part did not start.
    """
    sites = {name: getattr(topology, name).model_copy(update=ALIKE) for name in ("private", "public")}
    with ExitStack() as stack:
        cloud = stack.enter_context(Cloud(topology.model_copy(update=sites), folder))
        secrets = cloud.folder
        own = TLS(secrets / "ca.crt", secrets / "gateway.crt", secrets / "gateway.key")
        settings = cloud.hybrid.gateway.settings
        bare = stack.enter_context(Bare(settings.model_copy(update={"run_dir": folder / "bare", "port": _free_port()})))
        through, theirs = f"localhost:{topology.gateway.port}", TLS(secrets / "ca.crt")
        clients = {
            DIRECT: SearchClient(f"localhost:{topology.private.port}", tls=own),
            BARE: SearchClient(f"localhost:{bare.settings.port}", tls=theirs),
            STAYS: SearchClient(through, tls=theirs, token=cloud.token("private").read_text()),
            GATEWAY: SearchClient(through, tls=theirs, token=cloud.token("hybrid").read_text()),
        }
        for client in clients.values():
            stack.enter_context(client)
        yield {name: client.search for name, client in clients.items()}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
