"""Everything per product that a search needs, computed once: vectors, token vectors, terms, word pieces, payloads."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from rich.console import Console

from build.evaluation.offline import session
from build.progress import progress
from build.release.publish import hard_link
from build.settings import IndexSettings
from shelfbridge.catalogue import Catalogue
from shelfbridge.contract import ATTENTION_MASK, EMBEDDING, INPUT_IDS, STORED_TOKENS
from shelfbridge.retrieval import CandidateIndex, ProductPairs, ProductStore
from shelfbridge.retrieval.facets import Facets
from shelfbridge.wordpieces import WordPieces

DEFAULTS = IndexSettings()
INT8 = 127
FILTERS = "facets"
"""Folder of an index that holds what searches are filtered by."""


def write_pieces(folder: Path, *, catalogue: Catalogue, tokenizer: Path) -> None:
    """The word pieces that the cross-encoder reads of each product."""
    texts = [product.full_text for product in catalogue.products]
    ProductPairs.write(folder, WordPieces(tokenizer / "tokenizer.json").pieces(texts))


def write_store(folder: Path, *, catalogue: Catalogue) -> None:
    """What an answer shows of each product."""
    ProductStore.write(folder, catalogue.products)


def write_index(
    folder: Path,
    *,
    catalogue: Catalogue,
    queries: Sequence[str],
    tokenizer: Path,
    graph: Path,
    where: str,
    console: Console,
    settings: IndexSettings = DEFAULTS,
) -> None:
    """Encode all products with the exported encoder and index them.

    The token vectors of a product's first `STORED_TOKENS` pieces are brought to unit length: only the query's lengths
    weigh. `scale.npy` is their int8 step.

    Args:
        queries: of shoppers; search in a large catalogue is set up by them.
        tokenizer: folder of `tokenizer.json`.
        graph: folder of the encoder's `model.onnx`.
        where: the vectors go, as `place` of `write_vectors`.
        settings: how many products are encoded at a time, and by how many queries search is set up.
    """
    pieces, model = WordPieces(tokenizer / "tokenizer.json"), session(graph / "model.onnx", threads=0)
    texts = [product.full_text for product in catalogue.products]
    vectors, tokens = encode(texts, pieces, model, console, settings.batch)
    scale = float(np.float32(max(float(np.abs(one).max()) for one in tokens) / INT8))
    asked = [pieces.queries([text]) for text in likely_queries(catalogue, queries, settings.likely)]
    likely = [
        model.run([EMBEDDING.name], {INPUT_IDS.name: ids, ATTENTION_MASK.name: mask})[0][0] for ids, mask in asked
    ]
    CandidateIndex.write(
        folder, catalogue.products, vectors, quantised(tokens, scale), queries=np.stack(likely), place=where
    )
    np.save(folder / "scale.npy", np.float32(scale))


def write_filters(folder: Path, *, index: Path, catalogue: Catalogue) -> None:
    """An index as it is served: what it finds by words and vectors, with the prices and stocks of now to filter by."""
    shutil.copytree(index, folder, copy_function=hard_link, dirs_exist_ok=True, ignore=shutil.ignore_patterns(FILTERS))
    Facets.write(folder / FILTERS, catalogue.products)


def encode(
    texts: Sequence[str], pieces: WordPieces, model: InferenceSession, console: Console, batch: int = DEFAULTS.batch
) -> tuple[NDArray[np.float32], list[NDArray[np.float16]]]:
    """Unit vectors [N, D] of products, and the unit vectors [T_i, P] of each one's first `STORED_TOKENS` pieces."""
    by_length = np.argsort([len(text) for text in texts], kind="stable")
    vectors: list[NDArray[Any]] = [np.empty(0)] * len(texts)
    tokens: list[NDArray[Any]] = [np.empty(0)] * len(texts)
    with progress(console) as bar:
        task = bar.add_task("encoding products", total=len(texts))
        for start in range(0, len(texts), batch):
            rows = by_length[start : start + batch]
            ids, mask = pieces.products([texts[row] for row in rows])
            embeddings, token_vectors = model.run(None, {"input_ids": ids, "attention_mask": mask})
            for place, row in enumerate(rows):
                vectors[row] = embeddings[place]
                vectors_of_pieces = token_vectors[place, : min(mask[place].sum(), STORED_TOKENS)]
                lengths = np.linalg.norm(vectors_of_pieces, axis=-1, keepdims=True)
                tokens[row] = (vectors_of_pieces / lengths).astype(np.float16)
            bar.advance(task, len(rows))
    return np.stack(vectors), tokens


def quantised(tokens: Sequence[NDArray[np.float16]], scale: float) -> list[NDArray[np.int8]]:
    """Token vectors in steps of `scale`; what lies beyond the range is cut off."""
    steps = (np.rint(one.astype(np.float32) / scale) for one in tokens)
    return [np.clip(one, -INT8, INT8).astype(np.int8) for one in steps]


def likely_queries(catalogue: Catalogue, known: Sequence[str], count: int = DEFAULTS.likely) -> list[str]:
    """Some queries: known ones, and three words of a product's title for each that is missing.

    Whole titles would not do: they lie nearer to products than what shoppers type, and are found with less.
    """
    random = np.random.default_rng(7)
    asked = [known[at] for at in random.permutation(len(known))[:count]]
    for at in random.integers(len(catalogue.products), size=count - len(asked)):
        words = catalogue.products[at].title.split()
        asked.append(" ".join(words[place] for place in random.permutation(len(words))[:3]))
    return asked
