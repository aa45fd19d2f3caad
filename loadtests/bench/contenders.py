"""Who is measured: Shelfbridge, and the peers of `peers.toml`."""

import sys
import sysconfig
import tomllib
from pathlib import Path

from rich.console import Console

from deploy.embedded import EmbeddedServer
from loadtests.bench.environments import environment
from loadtests.bench.servers import Contender, Service, Triton
from loadtests.machine import CORES

HERE = Path(__file__).parent
SEARCH, DEEP, WARM = "search", "search_deep", "search, warm"
OURS = (SEARCH, DEEP, WARM)
CANDIDATES = 50
"""Products that a peer's cross-encoder reads per search."""
PEERS: dict[str, dict[str, str]] = tomllib.loads((HERE / "peers.toml").read_text(encoding="utf-8"))


def ours(embedded: EmbeddedServer, warm: bool) -> list[Contender]:
    """Return Shelfbridge's rows; they share a server."""
    server, address = Triton(embedded), embedded.address
    rows = [(SEARCH, False, False), (DEEP, True, False), *([(WARM, False, True)] if warm else [])]
    return [
        Contender(name, server, {"kind": "shelfbridge", "address": address, "deep": deep}, repeats=repeats)
        for name, deep, repeats in rows
    ]


def peer(
    name: str, *, release: Path, shop: Path, work: Path, port: int, candidates: int, console: Console
) -> Contender:
    """Return one of `PEERS`, in an environment that is made where it is missing.

    Args:
        name: of the peer.
        release: that the control serves.
        shop: folder of what it serves (`weights.write_shop`).
        work: folder of environments and logs.
        port: that it answers on.
        candidates: products that its cross-encoder reads per search.
        console: shows what is installed.

    Raises:
        PrerequisiteError: the environment cannot be installed.
    """
    about = PEERS[name]
    python = environment(about["environment"], work / "environments", console)
    given = {
        "python": python,
        "programs": python.parent,
        "packages": sysconfig.get_path("purelib", vars={"base": str(python.parent.parent)}),
        "ours": sys.executable,
        "peers": HERE / "peers",
        "release": release,
        "shop": shop,
        "port": port,
        "threads": CORES,
        "candidates": candidates,
    }
    command = [word.format(**given) for word in about["command"].split()]
    service = Service(name, command, port, work / "logs" / f"{name}.log", {"OMP_NUM_THREADS": str(CORES)})
    address = f"http://127.0.0.1:{port}"
    asked = {"kind": about["caller"], "address": address, "shop": str(shop), "candidates": candidates}
    return Contender(name, service, asked, about["environment"])
