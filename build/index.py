"""Everything per product that a search needs, computed once: vectors, token vectors, terms, word pieces, payloads."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from build.offline import session
from build.training import progress
from shelfbridge.catalogue import Catalogue
from shelfbridge.contract import STORED_TOKENS
from shelfbridge.retrieval import CandidateIndex, ProductPairs, ProductStore
from shelfbridge.wordpieces import WordPieces

BATCH = 64
INT8 = 127


def write_pieces(folder: Path, *, catalogue: Catalogue, tokenizer: Path) -> None:
    """The word pieces that the cross-encoder reads of each product."""
    texts = [product.full_text for product in catalogue.products]
    ProductPairs.write(folder, WordPieces(tokenizer / "tokenizer.json").pieces(texts))


def write_store(folder: Path, *, catalogue: Catalogue) -> None:
    """What an answer shows of each product."""
    ProductStore.write(folder, catalogue.products)


def write_index(folder: Path, *, catalogue: Catalogue, tokenizer: Path, graph: Path, console: Console) -> None:
    """Encode all products with the exported encoder and index them.

    The token vectors of a product's first `STORED_TOKENS` pieces are brought to unit length: only the query's lengths
    weigh. `scale.npy` is their
    int8 step.

    Args:
        tokenizer: folder of `tokenizer.json`.
        graph: folder of the encoder's `model.onnx`.
    """
    pieces, model = WordPieces(tokenizer / "tokenizer.json"), session(graph / "model.onnx", threads=0)
    texts = [product.full_text for product in catalogue.products]
    by_length = np.argsort([len(text) for text in texts], kind="stable")
    vectors: list[NDArray[Any]] = [np.empty(0)] * len(texts)
    tokens: list[NDArray[Any]] = [np.empty(0)] * len(texts)
    with progress(console) as bar:
        task = bar.add_task("encoding products", total=len(texts))
        for start in range(0, len(texts), BATCH):
            rows = by_length[start : start + BATCH]
            ids, mask = pieces.products([texts[row] for row in rows])
            embeddings, token_vectors = model.run(None, {"input_ids": ids, "attention_mask": mask})
            for place, row in enumerate(rows):
                vectors[row] = embeddings[place]
                vectors_of_pieces = token_vectors[place, : min(mask[place].sum(), STORED_TOKENS)]
                lengths = np.linalg.norm(vectors_of_pieces, axis=-1, keepdims=True)
                tokens[row] = (vectors_of_pieces / lengths).astype(np.float16)
            bar.advance(task, len(rows))
    scale = max(float(np.abs(one).max()) for one in tokens) / INT8
    quantised = [np.rint(one.astype(np.float32) / scale).astype(np.int8) for one in tokens]
    CandidateIndex.write(folder, catalogue.products, np.stack(vectors), quantised)
    np.save(folder / "scale.npy", np.float32(scale))
