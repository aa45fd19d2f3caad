"""The ways that a search can take to one Triton, all open at a time so that they are measured beside each other."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import socket

from deploy.hybrid import Topology
from loadtests.hybrid.cloud import Cloud
from loadtests.serving import embedded
from shelfbridge.client import TLS, SearchClient
from shelfbridge.errors import PrerequisiteError

PLAIN, DIRECT, STAYS, GATEWAY = "in clear", "direct", "gateway, must stay", "gateway"
WAYS = {
    PLAIN: "to a Triton of its own, without TLS",
    DIRECT: "to the private site, with the gateway's certificate",
    STAYS: "through the gateway with a token whose searches stay private: one hop",
    GATEWAY: "through the gateway with a token whose searches may burst: two hops",
}
PORTS = 9
Ask = Callable[[str], object]


@contextmanager
def opened(release: Path, folder: Path) -> Iterator[Mapping[str, Ask]]:
    """Take up both sites, the gateway and a server without TLS.

    Args:
        release: of all of them. None keeps answers, so that each way has the same work to do.
        folder: to make, of logs, configs and credentials.

    Yields:
        A search by each of `WAYS`.

    Raises:
        ShelfbridgeError: a part did not start.
    """
    with ExitStack() as stack:
        cloud = stack.enter_context(Cloud(topology(release, folder / "hybrid"), folder / "security"))
        plain = embedded(release, folder / "plain", processes=1, result_cache=0)
        stack.callback(plain.down)
        plain.up()
        secrets, ports = cloud.folder, cloud.topology
        own = TLS(secrets / "ca.crt", secrets / "gateway.crt", secrets / "gateway.key")
        through, theirs = f"localhost:{ports.gateway.port}", TLS(secrets / "ca.crt")
        clients = {
            PLAIN: SearchClient(plain.address),
            DIRECT: SearchClient(f"localhost:{ports.private.port}", tls=own),
            STAYS: SearchClient(through, tls=theirs, token=cloud.token("private").read_text()),
            GATEWAY: SearchClient(through, tls=theirs, token=cloud.token("hybrid").read_text()),
        }
        for client in clients.values():
            stack.enter_context(client)
        yield {name: client.search for name, client in clients.items()}


def topology(release: Path, run_dir: Path) -> Topology:
    """Two sites of one process each on free ports; the public one is there, and idle."""
    site = {"release": release, "processes": 1, "result_cache": 0, "capacity": 64, "price_per_hour": 1}
    port = free()
    return Topology.model_validate(
        {
            "run_dir": run_dir,
            "gateway": {"port": port},
            "private": {**site, "port": port + 1},
            "public": {**site, "port": port + 4},
            "wan": {"kind": "relay", "rtt_ms": 20},
            "security": {"certificates": run_dir, "jwks": run_dir},  # the cloud makes its own
        }
    )


def free() -> int:
    """The first of neighbouring ports that nobody listens on.

    Raises:
        PrerequisiteError: there are none.
    """
    for first in range(26000, 30000, PORTS):
        with ExitStack() as stack:
            try:
                for port in range(first, first + PORTS):
                    stack.enter_context(socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise PrerequisiteError(f"no {PORTS} neighbouring ports from 26000 to 30000 are free; end what listens there")
