"""What the peers' services have in common: their command line, the shop's products, and an HTTP server.

It is imported from the folder of the script that runs, within the peer's own environment.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

Search = Callable[[str, int], list[str]]
"""Ids of the best k products for a query."""


def command_line(about: str) -> argparse.ArgumentParser:
    """Return a parser with what every peer is given."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--shop", type=Path, required=True, help="folder of weights and products")
    parser.add_argument("--port", type=int, required=True)
    return parser


def neural(about: str) -> argparse.ArgumentParser:
    """Return the parser of a peer that runs networks."""
    parser = command_line(about)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--candidates", type=int, required=True, help="products that the cross-encoder reads")
    parser.add_argument("--batch", type=int, default=16, help="pairs read at a time")
    return parser


class Products:
    """Ids, texts as a cross-encoder reads them, and an exact index of their vectors."""

    def __init__(self, shop: Path, threads: int) -> None:
        import faiss
        import numpy as np

        products = json.loads((shop / "products.json").read_text())
        self.ids, self.texts = products["ids"], products["texts"]
        vectors = np.load(shop / "vectors.npy")
        self.index = faiss.IndexFlatIP(vectors.shape[1])
        self.index.add(vectors)
        faiss.omp_set_num_threads(threads)


def serve(search: Search, port: int) -> None:
    """Answer searches over HTTP until the process is ended; a first one warms it up."""
    import uvicorn
    from fastapi import Body, FastAPI

    search("warm up", 10)
    app = FastAPI()

    @app.post("/search")
    def answer(query: str = Body(), k: int = Body()) -> list[str]:
        return search(query, k)

    @app.get("/health")
    def health() -> str:
        return "ready"

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
