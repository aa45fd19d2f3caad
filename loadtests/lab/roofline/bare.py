"""The arithmetic of a search with nothing around it: encoder, search of the index, ranker, in this process.

Alone it is what latency is held against; with a process per core it is what CPU time under full load is held against,
because cores that are all busy share memory and power and are each slower.
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier

import faiss
import numpy as np
from numpy.typing import NDArray

from build.evaluation.offline import EncodedQuery, Retrieval, ranker_inputs, session
from shelfbridge.errors import DataError
from shelfbridge.release import read_manifest
from shelfbridge.retrieval import Candidates
from shelfbridge.text import normalise

PARTS = ("encoder", "index", "ranker")
WARMUP = 20


@dataclass(frozen=True)
class Traced:
    """A search and what its parts took, in the clock's seconds."""

    query: EncodedQuery
    found: Candidates
    seconds: tuple[float, float, float]


class Arithmetic:
    """Encoder, index and ranker of a release; one thread each, as served.

    Raises:
        ArtefactError: the release is missing or damaged.
    """

    def __init__(self, release: Path) -> None:
        faiss.omp_set_num_threads(1)
        number = str(read_manifest(release)["release"])
        self.graphs = {name: release / name / number / "model.onnx" for name in ("encoder", "ranker")}
        self.retrieval = Retrieval.open(
            release / "preprocess" / number / "tokenizer.json", self.graphs["encoder"], release / "retrieve" / number
        )
        self.ranker = session(self.graphs["ranker"])

    def search(self, query: str, clock: Callable[[], float] = time.perf_counter) -> Traced:
        """One search; tokenising is not in its times."""
        text = normalise(query)
        ids, mask = self.retrieval.pieces.queries([text])
        begun = clock()
        embedding, vectors = self.retrieval.encoder.run(None, {"input_ids": ids, "attention_mask": mask})
        encoded = clock()
        read = EncodedQuery(text, ids, mask, embedding[0], vectors)
        found = self.retrieval.candidates(read)
        retrieved = clock()
        self.ranker.run(None, ranker_inputs(read, found))
        return Traced(read, found, (encoded - begun, retrieved - encoded, clock() - retrieved))


def cpu_ms(release: Path, queries: Sequence[str], processes: int, seconds: float) -> dict[str, float]:
    """CPU milliseconds of each part of a search, while so many processes search at a time. Means over all searches.

    Raises:
        DataError: the queries ended before the time did.
    """
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(processes, context) as pool:
        barrier = manager.Barrier(processes)
        shares = (queries[at::processes] for at in range(processes))
        counted = [pool.submit(_searches, release, share, seconds, barrier) for share in shares]
        totals = np.array([one.result() for one in counted]).sum(0)
    return dict(zip(PARTS, (totals[1:] / totals[0] * 1e3).tolist(), strict=True))


def _searches(release: Path, queries: Sequence[str], seconds: float, barrier: Barrier) -> NDArray[np.float64]:
    """How many searches were made, and CPU seconds of their parts in all, [4]."""
    arithmetic = Arithmetic(release)
    for query in queries[:WARMUP]:
        arithmetic.search(query)
    barrier.wait(timeout=120)
    totals = np.zeros(1 + len(PARTS))
    end = time.perf_counter() + seconds
    for query in queries[WARMUP:]:
        totals += (1, *arithmetic.search(query, time.thread_time).seconds)
        if time.perf_counter() > end:
            return totals
    raise DataError(f"{len(queries):,} queries are too few for {seconds:g} s; give fewer --seconds or more judgments")
