"""Who is measured, and how each is tuned for this machine."""

import sys
import sysconfig
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
_SHOP = ("--shop", "{shop}", "--port", "{port}", "--threads", str(CORES), "--candidates", "{candidates}")
BM25, CONTROL = "bm25", "control"
PEERS: dict[str, tuple[str, tuple[str, ...], str]] = {
    BM25: (
        "bm25",
        ("python", str(HERE / "peers" / "bm25_service.py"), "--shop", "{shop}", "--port", "{port}"),
        "service",
    ),
    CONTROL: (
        "control",
        (
            *(sys.executable, str(HERE / "peers" / "control_service.py"), "--release", "{release}", "--shop", "{shop}"),
            *("--packages", "{packages}", "--port", "{port}"),
        ),
        "service",
    ),
    # 64: 50 pairs in one batch; 16 and 32 cost as much CPU a search. No vector cache: no query repeats. No
    # torch.compile: the server then needs more than 100 s to start. BetterTransformer: PyTorch's own attention is used
    "infinity": (
        "infinity",
        (
            *("infinity_emb", "v2", "--host", "127.0.0.1", "--port", "{port}", "--engine", "torch", "--device", "cpu"),
            *("--model-id", "{shop}/encoder", "--served-model-name", "encoder"),
            *("--model-id", "{shop}/cross-encoder", "--served-model-name", "cross-encoder"),
            *("--dtype", "float32", "--batch-size", "64", "--no-vector-disk-cache", "--no-bettertransformer"),
            "--no-compile",
        ),
        "infinity",
    ),
    "sentence-transformers": (
        "sentence-transformers",
        ("python", str(HERE / "peers" / "sentence_transformers_service.py"), *_SHOP),
        "service",
    ),
    "litserve": ("litserve", ("python", str(HERE / "peers" / "litserve_service.py"), *_SHOP), "service"),
    "litserve-int8": (
        "litserve",
        ("python", str(HERE / "peers" / "litserve_service.py"), *_SHOP, "--precision", "int8"),
        "service",
    ),
}
"""Requirements, command and kind of caller by peer; `peers/` tells how our services are tuned."""


def ours(embedded: EmbeddedServer, warm: bool) -> list[Contender]:
    """Shelfbridge's rows; they share a server."""
    server, address = Triton(embedded), embedded.address
    rows = [(SEARCH, False, False), (DEEP, True, False), *([(WARM, False, True)] if warm else [])]
    return [
        Contender(name, server, {"kind": "shelfbridge", "address": address, "deep": deep}, repeats=repeats)
        for name, deep, repeats in rows
    ]


def peer(
    name: str, *, release: Path, shop: Path, work: Path, port: int, candidates: int, console: Console
) -> Contender:
    """One of `PEERS`, in an environment that is made where it is missing.

    Args:
        release: that the control serves.
        shop: folder of what it serves (`weights.write_shop`).
        work: folder of environments and logs.
        port: that it answers on.
        candidates: products that its cross-encoder reads per search.

    Raises:
        PrerequisiteError: the environment cannot be installed.
    """
    required, arguments, kind = PEERS[name]
    programs = environment(required, work / "environments", console).parent
    packages = sysconfig.get_path("purelib", vars={"base": str(programs.parent)})
    given = {"release": release, "shop": shop, "port": port, "candidates": candidates, "packages": packages}
    filled = (one.format(**given) for one in arguments[1:])
    service = Service(
        name,
        [str(programs / arguments[0]), *filled],
        port,
        work / "logs" / f"{name}.log",
        variables={"OMP_NUM_THREADS": str(CORES)},
    )
    address = f"http://127.0.0.1:{port}"
    asked = {"kind": kind, "address": address, "shop": str(shop), "candidates": candidates}
    return Contender(name, service, asked, required)
