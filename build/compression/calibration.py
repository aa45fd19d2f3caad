"""What the compressed models are calibrated on, and the lengths that engines are made for: the shop's own texts.

Ranges of activations are measured on what a served step makes of queries and products, less its padding: what stands
there is masked in every answer, and would count in every range. So a batch holds rows of equal length, or, where a row
is too long to have equals, of nearly equal length; nothing is ever cut.
"""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from build.compression.fidelity import Feed
from build.data import examples
from build.evaluation.offline import EncodedQuery, Retrieval, deep_inputs, ranker_inputs, session
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.contract import CANDIDATES, SHORTLIST
from shelfbridge.lengths import padded
from shelfbridge.retrieval import ProductPairs

TEXTS = 256
"""Queries that ranges and lengths are measured on: those of train first, then texts in the shop's words."""
BATCH = 16
SEARCHED = 32
"""Queries whose candidates calibrate the ranker and, 20 pairs each, the cross-encoder."""


def write_feeds(
    folder: Path,
    *,
    tokenizer: Path,
    graph: Path,
    index: Path,
    ranker: Path,
    pieces: Path,
    catalogue: Catalogue,
    judgments: Judgments,
) -> None:
    """Write batches for each network to `folder/<network>/*.npz`, and `lengths.json`.

    Args:
        folder: to write to.
        tokenizer: folder of `tokenizer.json`.
        graph: folder of the encoder's `model.onnx`.
        index: folder of the index.
        ranker: folder of the ranker's `model.onnx`, which chooses what the cross-encoder reads.
        pieces: folder of the products' word pieces.
        catalogue: all products.
        judgments: the queries of train are used.
    """
    retrieval = Retrieval.open(tokenizer / "tokenizer.json", graph / "model.onnx", index)
    ranking, products = session(ranker / "model.onnx"), ProductPairs.open(pieces)
    own = sorted(set(judgments.of("train").queries.values()))
    random.Random(1).shuffle(own)
    texts = examples.unlabelled(catalogue, own[:TEXTS], max(0, TEXTS - len(own)), seed=1)
    queries = [retrieval.encode(text) for text in texts]
    ranked, shown = list[Feed](), list[Feed]()
    lengths: dict[str, Counter[int]] = {"query": Counter(), "candidates": Counter(), "pair": Counter()}
    for place, query in enumerate(queries):
        found = retrieval.candidates(query)
        inputs = ranker_inputs(query, found)
        (scores,) = ranking.run(None, inputs)
        read = deep_inputs(products.shortlist(query.input_ids[0], query.attention_mask[0], found.rows, scores[0]))
        if place < SEARCHED:
            ranked.append(inputs)
            shown.append(read)
        if place < len(own) or not own:  # where it is known, what shoppers typed
            lengths["query"][len(padded(query.input_ids[0]))] += 1
            lengths["candidates"][inputs["candidate_tokens"].shape[2]] += 1
            lengths["pair"][read["pair_ids"].shape[2]] += 1
    _write(folder / "encoder", _of_equal_length(queries))
    _write(folder / "ranker", ranked)
    _write(folder / "cross_encoder", _pairs(shown))
    record = {name: dict(sorted(counts.items())) for name, counts in lengths.items()}
    (folder / "lengths.json").write_text(json.dumps(record) + "\n")


def feeds_of(folder: Path, network: str) -> list[Feed]:
    """Return the batches of a network."""
    return [dict(np.load(file)) for file in sorted((folder / network).glob("*.npz"))]


def _of_equal_length(queries: Sequence[EncodedQuery]) -> Iterator[Feed]:
    """Yield the encoder's batches."""
    by_length: dict[int, list[NDArray[np.int64]]] = defaultdict(list)
    for query in queries:
        row = query.input_ids[query.attention_mask == 1]
        by_length[len(row)].append(row)
    for same in by_length.values():
        for start in range(0, len(same), BATCH):
            ids = np.stack(same[start : start + BATCH])
            yield {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def _pairs(shown: Sequence[Feed]) -> Iterator[Feed]:
    """Yield the cross-encoder's batches: pairs of all queries by length, whole; scores of zero, to see the logits."""
    names = ("pair_ids", "pair_types", "pair_mask")
    pairs = [
        np.stack([feed[name][0, place] for name in names])[:, mask == 1]
        for feed in shown
        for place, mask in enumerate(feed["pair_mask"][0])
        if feed["pair_types"][0, place].any()  # a candidate is there
    ]
    pairs.sort(key=lambda pair: pair.shape[1])
    for start in range(0, len(pairs), SHORTLIST):
        some = list(islice(cycle(pairs[start : start + SHORTLIST]), SHORTLIST))
        batch = np.zeros((len(names), 1, SHORTLIST, some[-1].shape[1]), np.int64)
        for place, pair in enumerate(some):
            batch[:, 0, place, : pair.shape[1]] = pair
        yield {**dict(zip(names, batch, strict=True)), "sorted_scores": np.zeros((1, CANDIDATES), np.float32)}


def _write(folder: Path, feeds: Iterable[Feed]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, feed in enumerate(feeds):
        np.savez(folder / f"{number:04}.npz", **feed)
