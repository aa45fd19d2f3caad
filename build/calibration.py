"""What the compressed models are calibrated on, and the lengths that engines are made for: the shop's own texts.

    python -m build.calibration --tokenizer FOLDER --encoder FOLDER --index FOLDER --pieces FOLDER \\
        --catalogue F --judgments F --out DIR

Batches hold rows of equal length, because padding would bias the ranges of activations. The folders are those of a
build: out/stages/tokenizer/DIGEST and so on; `python -m build.quantise --feeds DIR/encoder/*.npz` takes the result.
"""

import argparse
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build import examples
from build.offline import EncodedQuery, Retrieval, ranker_inputs
from build.quantise import read_feeds
from shelfbridge.catalogue import Catalogue, Judgments, read_catalogue, read_judgments
from shelfbridge.contract import CANDIDATES, SHORTLIST
from shelfbridge.errors import ShelfbridgeError
from shelfbridge.retrieval import ProductPairs

TEXTS = 256
"""Queries that ranges are measured on: those of train first, then texts in the shop's words."""
BATCH = 16
RANKED = 32
"""Queries whose candidates the ranker's graphs are compared on: a query has 100 candidates, 1.6 MB of tokens."""
READ = 16
"""Queries whose first candidates calibrate the cross-encoder: 20 pairs each."""

Feed = dict[str, NDArray[Any]]


def write_feeds(
    folder: Path,
    *,
    tokenizer: Path,
    graph: Path,
    index: Path,
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
        pieces: folder of the products' word pieces.
        catalogue: all products.
        judgments: the queries of train are used.
    """
    retrieval = Retrieval.open(tokenizer / "tokenizer.json", graph / "model.onnx", index)
    products = ProductPairs.open(pieces)
    own = sorted(set(judgments.of("train").queries.values()))
    random.Random(1).shuffle(own)
    texts = examples.unlabelled(catalogue, own[:TEXTS], max(0, TEXTS - len(own)), seed=1)
    queries = [retrieval.encode(text) for text in texts]
    _write(folder / "encoder", _of_equal_length(queries))
    found = [retrieval.candidates(query) for query in queries[:READ]]
    _write(folder / "ranker", (dict(ranker_inputs(*pair)) for pair in zip(queries[:RANKED], found, strict=False)))
    _write(
        folder / "cross_encoder",
        (_shortlist(products, query, one.rows) for query, one in zip(queries, found, strict=False)),
    )
    lengths = {
        "query": Counter(query.input_ids.shape[1] for query in queries[: len(own)]),
        "product": Counter(len(retrieval.index.tokens[row]) for row in range(len(catalogue.products))),
        "pair": Counter(
            products.pair(query.pieces, one.rows[:SHORTLIST])[0].shape[1]
            for query, one in zip(queries, found, strict=False)
        ),
    }
    record = {name: dict(sorted(counts.items())) for name, counts in lengths.items()}
    (folder / "lengths.json").write_text(json.dumps(record) + "\n")


def feeds_of(folder: Path, network: str) -> list[Feed]:
    """The batches of a network."""
    return [dict(feed) for feed in read_feeds(sorted((folder / network).glob("*.npz")))]


def _of_equal_length(queries: Sequence[EncodedQuery]) -> Iterator[Feed]:
    by_length: dict[int, list[EncodedQuery]] = defaultdict(list)
    for query in queries:
        by_length[query.input_ids.shape[1]].append(query)
    for same in by_length.values():
        for start in range(0, len(same), BATCH):
            some = same[start : start + BATCH]
            yield {
                "input_ids": np.concatenate([query.input_ids for query in some]),
                "attention_mask": np.concatenate([query.attention_mask for query in some]),
            }


def _shortlist(products: ProductPairs, query: EncodedQuery, rows: NDArray[np.int32]) -> Feed:
    """The first candidates of the fusion beside the query, cut to the shortest; scores of zero, to see the logits."""
    known = rows[rows >= 0]
    ids, types, mask = products.pair(query.pieces, np.resize(known, SHORTLIST))
    length = int(mask.sum(1).min())
    return {
        "pair_ids": ids[None, :, :length],
        "pair_types": types[None, :, :length],
        "pair_mask": mask[None, :, :length],
        "sorted_scores": np.zeros((1, CANDIDATES), np.float32),
    }


def _write(folder: Path, feeds: Iterator[Feed]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, feed in enumerate(feeds):
        np.savez(folder / f"{number:04}.npz", **feed)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, what in {
        "tokenizer": "tokenizer.json",
        "encoder": "the encoder's model.onnx",
        "index": "the index",
        "pieces": "the products' word pieces",
    }.items():
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="FOLDER", help=f"of {what}")
    parser.add_argument("--catalogue", type=Path, required=True, metavar="FILE")
    parser.add_argument("--judgments", type=Path, required=True, metavar="FILE", help="the queries of train are used")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    options = parser.parse_args()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        catalogue = read_catalogue(options.catalogue)
        write_feeds(
            options.out,
            tokenizer=options.tokenizer,
            graph=options.encoder,
            index=options.index,
            pieces=options.pieces,
            catalogue=catalogue,
            judgments=read_judgments(options.judgments, catalogue),
        )
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
