"""The ways that a search can take to one Triton, all open at a time, and searches that take them in turns."""

import gc
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from deploy.gateway import Gateway
from deploy.gateway.config import config
from deploy.hybrid import Topology
from loadtests.hybrid.cloud import Cloud
from loadtests.serving import free_port
from loadtests.timing import milliseconds
from shelfbridge.client import TLS, SearchClient

DIRECT, BARE, STAYS, GATEWAY = "direct", "bare Envoy", "gateway, must stay", "gateway"
WAYS = {
    DIRECT: "to the private site, with the gateway's certificate",
    BARE: "through an Envoy with TLS on both sides that judges nothing: one hop",
    STAYS: "through the gateway with a token whose searches stay private: one hop",
    GATEWAY: "through the gateway with a token whose searches may burst: two hops",
}
ALIKE = {"processes": 1, "result_cache": 0, "query_cache": 0, "cores": ()}
ROUTER = "envoy.filters.http.router"
TIMEOUT = "10s"
Ask = Callable[[str], object]
Times = NDArray[np.float64]


class Bare(Gateway):
    """An Envoy that judges nothing: what TLS and HTTP/2 on both sides cost, whatever a gateway decides."""

    def config(self) -> str:
        """The gateway's own, with nothing left but TLS, its routing and the private site."""
        content = yaml.safe_load(config(self.settings))
        resources = content["static_resources"]
        resources["listeners"] = [_passing_on(resources["listeners"][0])]
        private = next(each for each in resources["clusters"] if each["name"] == "private")
        del private["circuit_breakers"]
        resources["clusters"] = [private]
        return yaml.safe_dump(content)


def _passing_on(ingress: dict[str, Any]) -> dict[str, Any]:
    chain = ingress["filter_chains"][0]
    manager = chain["filters"][-1]
    typed = manager["typed_config"]
    route = {"match": {"prefix": "/"}, "route": {"cluster": "private", "timeout": TIMEOUT}}
    virtual_host = {"name": "all", "domains": ["*"], "routes": [route]}
    manager["typed_config"] = {
        **{name: typed[name] for name in ("@type", "stat_prefix", "codec_type", "http2_protocol_options")},
        "route_config": {"virtual_hosts": [virtual_host]},
        "http_filters": [each for each in typed["http_filters"] if each["name"] == ROUTER],
    }
    return {**ingress, "filter_chains": [{**chain, "filters": [manager]}]}


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
        bare = stack.enter_context(Bare(settings.model_copy(update={"run_dir": folder / "bare", "port": free_port()})))
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


def taken(
    ways: Mapping[str, Ask], queries: Sequence[str], seed: int = 7, advance: Callable[[], object] = lambda: None
) -> dict[str, Times]:
    """Ask each query by every way before the next, one at a time and in an order drawn anew each time.

    What the machine does meanwhile meets all ways alike.

    Returns:
        Milliseconds (queries,) by way, as the caller sees them.

    Raises:
        SearchError: a search failed; then nothing is measured.
    """
    chance, order = random.Random(seed), list(ways)
    times = {name: np.empty(len(queries)) for name in ways}
    gc.collect()
    gc.disable()  # else the caller's own pauses are the p99
    try:
        for number, query in enumerate(queries):
            chance.shuffle(order)
            for name in order:
                times[name][number] = milliseconds(partial(ways[name], query))
            advance()
    finally:
        gc.enable()
    return times
