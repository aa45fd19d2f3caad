"""Hard negatives for the encoder: what our own retrieval finds for a training query and nobody judged right.

What lies nearly as close as a right product is left out, as it may be right too without a judgment (the margin is
that of NV-Retriever, arXiv:2407.15831).
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from build.progress import progress
from build.training.models import Encoder
from shelfbridge.catalogue import Catalogue
from shelfbridge.retrieval.index import DEPTH, fuse
from shelfbridge.retrieval.signals import Lexicon
from shelfbridge.wordpieces import WordPieces

MARGIN = 0.95
"""Of the cosine of a query's closest right product: the most that a mined one may have."""
CHUNK = 64


def mined(
    encoder: Encoder,
    pieces: WordPieces,
    catalogue: Catalogue,
    right: Mapping[str, frozenset[int]],
    *,
    count: int,
    tokens: int,
    console: Console,
) -> dict[str, tuple[int, ...]]:
    """Rows of at most `count` wrong products per query: the first by words and by the encoder's vectors together.

    Args:
        encoder: not fine-tuned yet.
        right: rows of the products that are right for each query.
        tokens: word pieces of a product that are read.
    """
    found = {}
    vectors = _vectors(encoder, pieces, [product.full_text for product in catalogue.products], tokens, console)
    with tempfile.TemporaryDirectory() as folder:
        Lexicon.write(Path(folder), catalogue.products)
        lexicon = Lexicon.open(Path(folder))
        for query, rows in right.items():
            cosines = vectors @ _embedded(encoder, *pieces.queries([query]))[0]
            ranked = fuse(lexicon.best(lexicon.words(query), DEPTH), np.argsort(-cosines, kind="stable")[:DEPTH])
            most = MARGIN * max((cosines[row] for row in rows), default=1.0)
            wrong = [row for row in ranked.tolist() if row not in rows and cosines[row] < most]
            found[query] = tuple(wrong[:count])
    return found


def _vectors(
    encoder: Encoder, pieces: WordPieces, texts: Sequence[str], tokens: int, console: Console
) -> NDArray[np.float32]:
    """Unit vectors [N, D] of products."""
    by_length = np.argsort([len(text) for text in texts], kind="stable")
    vectors = np.empty((len(texts), encoder.trunk.config.hidden_size), np.float32)
    with progress(console) as bar:
        for start in bar.track(range(0, len(texts), CHUNK), description="encoding products"):
            rows = by_length[start : start + CHUNK]
            ids, mask = pieces.products([texts[row] for row in rows])
            vectors[rows] = _embedded(encoder, ids[:, :tokens], mask[:, :tokens])
    return vectors


@torch.inference_mode()
def _embedded(encoder: Encoder, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    embeddings: NDArray[np.float32] = encoder.eval()(torch.from_numpy(ids), torch.from_numpy(mask))[0].numpy()
    return embeddings
