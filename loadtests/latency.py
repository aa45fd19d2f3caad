"""What a search takes at concurrency 1, and how much of it is neither model arithmetic nor index search.

    python -m loadtests.latency --release out/releases/current --queries Q.tsv --out DIR [--address localhost:8001]

Each query is searched through the server and then, in this process, goes through the same encoder, index and ranker
files; the two alternate, so that both meet the same machine. Queries come round again, so spelling corrections, which
are remembered, are met only once. Overhead is the difference of the two times of a query:
gRPC, the server's scheduling, the hops between its processes, tokenising, checking, and making the answer.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from clients.batch import read_queries
from clients.settings import ClientSettings
from shelfbridge.client import SearchClient
from shelfbridge.errors import ArtefactError, ShelfbridgeError
from shelfbridge.retrieval import CandidateIndex
from shelfbridge.text import normalise
from shelfbridge.wordpieces import WordPieces

matplotlib.use("Agg")
from matplotlib import pyplot

WARMUP = 50


class Arithmetic:
    """Encoder, index and ranker of a release, without anything around them; one thread each, as served."""

    def __init__(self, release: Path) -> None:
        try:
            number = str(json.loads((release / "manifest.json").read_text())["release"])
        except (OSError, ValueError, KeyError) as error:
            raise ArtefactError(f"{release} is not a release: no readable manifest.json") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.words = WordPieces(release / "preprocess" / number / "tokenizer.json")
        self.index = CandidateIndex.open(release / "retrieve" / number)
        self.encoder, self.ranker = (
            onnxruntime.InferenceSession(release / model / number / "model.onnx", options)
            for model in ("encoder", "ranker")
        )

    def time(self, query: str) -> tuple[float, float, float]:
        """Milliseconds of encoder, index search and ranker for a query."""
        text = normalise(query)
        ids, mask = self.words.queries([text])
        begun = time.perf_counter()
        embedding, token_vectors = self.encoder.run(None, {"input_ids": ids, "attention_mask": mask})
        encoded = time.perf_counter()
        found = self.index.search(text, embedding[0])
        retrieved = time.perf_counter()
        self.ranker.run(
            None,
            {
                "token_vectors": token_vectors,
                "candidate_tokens": found.tokens[None],
                "candidate_lengths": found.lengths[None],
                "candidate_cosines": found.cosines[None],
                "signals": found.signals[None],
            },
        )
        ranked = time.perf_counter()
        return (encoded - begun) * 1e3, (retrieved - encoded) * 1e3, (ranked - retrieved) * 1e3


def measure(client: SearchClient, arithmetic: Arithmetic, queries: list[str], count: int) -> dict[str, Any]:
    """Alternate served searches and bare arithmetic over the queries, round and round."""
    served, bare, steps = [], [], []
    for number in track(range(count + WARMUP), description="searching"):
        query = queries[number % len(queries)]
        result = client.search(query, k=10)
        parts = arithmetic.time(query)
        if number >= WARMUP:
            served.append(result.round_trip_ms)
            bare.append(parts)
            steps.append(list(result.steps.values()))
    names = list(result.steps)
    total, parts_ms, steps_ms = np.array(served), np.array(bare), np.array(steps)
    return {
        "searches": count,
        "queries": len(queries),
        "served": percentiles(total),
        "arithmetic": {name: percentiles(parts_ms[:, at]) for at, name in enumerate(("encoder", "index", "ranker"))},
        "overhead": percentiles(total - parts_ms.sum(1)),
        "steps": {name: percentiles(steps_ms[:, at]) for at, name in enumerate(names)},
    }


def percentiles(values: NDArray[np.float64]) -> dict[str, float]:
    """Milliseconds."""
    return {f"p{p}": round(float(np.percentile(values, p)), 3) for p in (50, 95, 99)}


def plot(path: Path, record: dict[str, Any]) -> None:
    """Where the median search spends its time."""
    parts = {**{n: v["p50"] for n, v in record["arithmetic"].items()}, "everything else": record["overhead"]["p50"]}
    drawing, axes = pyplot.subplots(figsize=(8, 1.8), layout="constrained")
    left = 0.0
    for (name, value), color in zip(parts.items(), ("#4c78a8", "#72b7b2", "#54a24b", "#bab0ac"), strict=True):
        axes.barh([""], [value], left=left, label=f"{name} {value:.2f}", color=color)
        left += value
    axes.set_xlabel(f"ms at concurrency 1 (served: p50 {record['served']['p50']}, p99 {record['served']['p99']})")
    drawing.legend(ncols=4, loc="outside upper center", frameon=False)
    drawing.savefig(path, dpi=120)
    pyplot.close(drawing)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, required=True, help="the release that the server serves")
    parser.add_argument("--queries", type=Path, required=True, help="TSV of id and query")
    parser.add_argument("--out", type=Path, required=True, help="folder for latency.json and latency.png")
    parser.add_argument("--searches", type=int, default=2000)
    parser.add_argument("--address", help="gRPC endpoint (default: SHELFBRIDGE_ADDRESS or localhost:8001)")
    options = parser.parse_args()
    try:
        settings = ClientSettings.load(address=options.address, timeout=10.0)
        with SearchClient(**settings.client_arguments()) as client:
            queries = [query.text for query in read_queries(options.queries)[0]]
            record = measure(client, Arithmetic(options.release), queries, options.searches)
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "latency.json").write_text(json.dumps(record, indent=2) + "\n")
    plot(options.out / "latency.png", record)
    Console().print_json(data=record)


if __name__ == "__main__":
    main()
