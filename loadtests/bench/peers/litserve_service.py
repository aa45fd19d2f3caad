"""LitServe with onnxruntime: one service that embeds, searches exactly and reranks, in fp32 or dynamic int8.

Tuning: searches that arrive together are batched; the pairs of a batch are sorted by length and read `--batch` at a
time, so that little is padded (16 costs less CPU than 8 or 50); graphs fused by onnxruntime's transformer optimiser;
one worker with all cores. A worker per core with one thread each would use 10 % less CPU a search and double the
latency of a lone one.
"""

import argparse
from pathlib import Path
from typing import Any

import litserve
import numpy as np
import onnxruntime
from serving import Products, neural
from tokenizers import Tokenizer

PAIR_TOKENS = 128


class Network:
    """A graph with its tokenizer."""

    def __init__(self, graph: Path, tokenizer: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
        self.tokenizer.enable_truncation(PAIR_TOKENS)
        self.tokenizer.no_padding()
        self.inputs = {one.name for one in self.session.get_inputs()}

    def run(self, texts: list[Any], batch: int) -> Any:
        """Outputs in the order of the texts or pairs of texts, which are read in order of their length."""
        encoded = self.tokenizer.encode_batch_fast(texts)
        order = np.argsort([-len(one.ids) for one in encoded], kind="stable")
        parts = [self._run([encoded[place] for place in order[at : at + batch]]) for at in range(0, len(order), batch)]
        return np.concatenate(parts)[np.argsort(order)]

    def _run(self, some: list[Any]) -> Any:
        longest = len(some[0].ids)
        feeds = {name: np.zeros((len(some), longest), np.int64) for name in self.inputs}
        columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        for name, feed in feeds.items():
            for row, one in enumerate(some):
                feed[row, : len(one.ids)] = getattr(one, columns[name])
        return self.session.run(None, feeds)[0]


class SearchAPI(litserve.LitAPI):
    """The search; LitServe makes it once per worker."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(max_batch_size=options.together, batch_timeout=0.002, api_path="/search")
        self.options = options

    def setup(self, device: str) -> None:
        """Load the networks and the products."""
        shop, threads, kind = self.options.shop, self.options.threads, self.options.precision
        ending = "onnx" if kind == "fp32" else f"{kind}.onnx"
        self.encoder = Network(shop / f"encoder.{ending}", shop / "encoder", threads)
        self.reader = Network(shop / f"cross-encoder.{ending}", shop / "cross-encoder", threads)
        self.products = Products(shop, threads)
        self.search([{"query": "warm up", "k": 10}])

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """The body as it is."""
        return request

    def batch(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Searches of one batch."""
        return inputs

    def unbatch(self, output: list[list[str]]) -> list[list[str]]:
        """Answers of one batch."""
        return output

    def predict(self, x: Any) -> Any:
        """One search, or a batch of them where batching is on."""
        return self.search(x) if isinstance(x, list) else self.search([x])[0]

    def encode_response(self, output: list[str]) -> list[str]:
        """The ids."""
        return output

    def search(self, asked: list[dict[str, Any]]) -> list[list[str]]:
        """Ids of the best products for each query."""
        queries = [one["query"] for one in asked]
        vectors = self.encoder.run(queries, self.options.batch)
        found = self.products.index.search(vectors, self.options.candidates)[1]
        pairs = [(query, self.products.texts[row]) for query, rows in zip(queries, found, strict=True) for row in rows]
        scores = self.reader.run(pairs, self.options.batch).reshape(found.shape)
        best = np.argsort(-scores, axis=1, kind="stable")
        return [
            [self.products.ids[row] for row in rows[places[: one["k"]]]]
            for one, rows, places in zip(asked, found, best, strict=True)
        ]


def main() -> None:
    """The command line."""
    parser = neural(__doc__)
    parser.add_argument("--precision", choices=("fp32", "int8"), default="fp32")
    parser.add_argument("--together", type=int, default=4, help="searches batched at most")
    server = litserve.LitServer(SearchAPI(options := parser.parse_args()), accelerator="cpu", timeout=120)
    server.run(host="127.0.0.1", port=options.port, generate_client_file=False, log_level="warning", num_api_servers=1)


if __name__ == "__main__":
    main()
