"""sentence-transformers, FAISS and FastAPI: one service that embeds, searches exactly and reranks.

Tuning: one worker with all cores reads one search at a time, for searches side by side would wait for each other's
threads; pairs are sorted by length (the library does) and read `--batch` at a time, so that little is padded; inference
mode; fp32 with scaled-dot-product attention. A worker per core with one thread each would use 4 % less CPU a search and
double the latency of a lone one.
"""

import threading

import numpy as np
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from serving import Products, neural, serve


def main() -> None:
    """The command line."""
    options = neural(__doc__).parse_args()
    torch.set_num_threads(options.threads)
    encoder = SentenceTransformer(str(options.shop / "encoder"), device="cpu")
    reader = CrossEncoder(str(options.shop / "cross-encoder"), device="cpu")
    products, turn = Products(options.shop, options.threads), threading.Lock()

    def search(query: str, k: int) -> list[str]:
        with turn, torch.inference_mode():
            vector = encoder.encode([query], show_progress_bar=False)
            rows = products.index.search(vector, options.candidates)[1][0]
            pairs = [(query, products.texts[row]) for row in rows if row >= 0]
            scores = reader.predict(pairs, batch_size=options.batch, show_progress_bar=False)
        return [products.ids[rows[place]] for place in np.argsort(-scores, kind="stable")[:k]]

    serve(search, options.port)


if __name__ == "__main__":
    main()
