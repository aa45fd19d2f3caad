"""The costs of one size of catalogue, each measured in a process of its own."""

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import faiss
import numpy as np
from rich.progress import Progress

from loadtests.lab.bench_index.corpus import Corpus, Vectors, intrinsic_dimension, more_texts, more_vectors
from loadtests.timing import milliseconds, percentiles
from shelfbridge.catalogue import Product
from shelfbridge.contract import STORED_TOKENS, TOKEN_WIDTH
from shelfbridge.retrieval import CandidateIndex
from shelfbridge.retrieval.index import DEPTH
from shelfbridge.retrieval.vectors import RECORD, open_vectors, write_vectors
from shelfbridge.retrieval.vectors.tuning import Truth
from shelfbridge.text import normalise

SHARES = (0.001, 0.01, 0.05, 0.3)
"""Of all products that a filter leaves."""
KINDS = ("even", "category")
FILTERED = 60
"""Queries that filters are measured by."""
ROUNDS = 3


def measure_vectors(folder: Path, file: Path, real: Corpus) -> dict[str, Any]:
    """Index the vectors of a file [N, D] and search them; alone in a process, whose peak memory it reports."""
    vectors: Vectors = np.load(file)
    before = memory_mb("VmHWM")
    begun = time.perf_counter()
    write_vectors(folder, vectors, queries=real.likely)
    seconds, peak = time.perf_counter() - begun, memory_mb("VmHWM")
    record = json.loads((folder / RECORD).read_text()) if (folder / RECORD).exists() else {}
    found = {
        "build_s": seconds,
        "build_mb": peak - before,
        "index_mb": sum(file.stat().st_size for file in folder.iterdir()) / 1e6,
        "stored_mb": vectors.size * (2 if record else 4) / 1e6,
        "precision": "fp16" if record else "fp32",
        "setting": record,
    }
    return found | {"dimension": intrinsic_dimension(vectors, real.asked["words"])}


def measure_search(folder: Path, file: Path, real: Corpus) -> dict[str, Any]:
    """Search what is indexed in `folder`, on one thread; alone in a process, whose own memory it reports."""
    faiss.omp_set_num_threads(1)
    before = memory_mb("RssAnon")
    index = open_vectors(folder)
    found: dict[str, Any] = {"private_mb": memory_mb("RssAnon") - before}
    vectors: Vectors = np.load(file, mmap_mode="r").view(np.ndarray)
    for kind, queries in real.asked.items():
        recalls = Truth.of(vectors, queries).recalls(lambda query: index.search(query, DEPTH))
        found[f"recall_{kind}"] = float(recalls.mean())
        found |= {f"{name}_{kind}": value for name, value in timed(lambda q: index.search(q, DEPTH), queries).items()}
    found["p50_ms"], found["p99_ms"] = found["p50_ms_words"], found["p99_ms_words"]
    some = real.asked["words"][:FILTERED]
    return found | {"filters": [filtered(index, vectors, some, share, kind) for share in SHARES for kind in KINDS]}


def filtered(index: Any, vectors: Vectors, queries: Vectors, share: float, kind: str) -> dict[str, Any]:
    """Search with a filter that leaves a share of the products."""
    random = np.random.default_rng(7)
    near = random.random(len(vectors)) if kind == "even" else vectors @ vectors[random.integers(len(vectors))]
    allowed = near >= np.quantile(near, 1 - share)
    rows = np.flatnonzero(allowed)
    truth = Truth.of(vectors[rows], queries)
    recalls = truth.recalls(lambda query: np.searchsorted(rows, index.search(query, DEPTH, allowed)))
    times = timed(lambda query: index.search(query, DEPTH, allowed), queries)
    return {"share": share, "kind": kind, "recall": float(recalls.mean()), **times}


def measure_whole(folder: Path, file: Path, real: Corpus) -> dict[str, Any]:
    """The whole search for candidates, words and filters included, over texts and vectors; alone in a process."""
    faiss.omp_set_num_threads(1)
    vectors: Vectors = np.load(file)
    texts = more_texts(real.texts, len(vectors))
    products = [Product(product_id=str(row), title=text) for row, text in enumerate(texts)]
    random = np.random.default_rng(7)
    pool = random.integers(-127, 128, (1 << 16, TOKEN_WIDTH), np.int8)
    lengths = [min(STORED_TOKENS, 2 + 2 * text.count(" ")) for text in texts]
    starts = random.integers(1 << 15, size=len(texts))
    tokens = [pool[start : start + length] for start, length in zip(starts, lengths, strict=True)]
    begun = time.perf_counter()
    CandidateIndex.write(folder / "whole", products, vectors, tokens, queries=real.likely)
    built = time.perf_counter() - begun
    index = CandidateIndex.open(folder / "whole")
    asked = [(normalise(text), query) for text, query in zip(real.asked_words, real.asked["words"], strict=True)]
    return {"whole_build_s": built} | {f"whole_{k}": v for k, v in timed(lambda one: index.search(*one), asked).items()}


def memory_mb(kind: str) -> float:
    """Memory of this process: RssAnon, what it shares with no other, or VmHWM, the most that it ever had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


def timed(search: Callable[[Any], object], queries: Sequence[Any] | Vectors) -> dict[str, float]:
    """Milliseconds of a search, p50 and p99, over rounds of the queries after one to warm up."""
    times = [milliseconds(partial(search, query)) for _ in range(1 + ROUNDS) for query in queries]
    found = percentiles(times[len(queries) :], 50, 99)
    return {f"{name}_ms": ms for name, ms in found.items()}


def alone(work: Callable[..., dict[str, Any]], threads: int, *given: Any) -> dict[str, Any]:
    """The result of a function that runs in a process of its own."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        result: dict[str, Any] = pool.submit(work, *given).result()
    return result


def measure(real: Corpus, sizes: Sequence[int], whole_up_to: int) -> list[dict[str, Any]]:
    """All figures of every size."""
    every = os.cpu_count() or 1
    parts = ((measure_vectors, every), (measure_search, 1), (measure_whole, every))
    found = []
    with TemporaryDirectory() as folder, Progress() as bar:
        task = bar.add_task("measuring", total=len(parts) * len(sizes))
        for size in sizes:
            home, file = Path(folder) / f"{size}", Path(folder) / f"{size}.npy"
            home.mkdir()
            np.save(file, more_vectors(real.vectors, size))
            row = {"products": size, "real": min(size, len(real.vectors))}
            for work, threads in parts:
                bar.update(task, description=f"{size:,} products: {work.__name__.replace('_', ' ')}")
                if work is not measure_whole or size <= whole_up_to:
                    row |= alone(work, threads, home, file, real)
                bar.advance(task)
            found.append(row)
    return found
