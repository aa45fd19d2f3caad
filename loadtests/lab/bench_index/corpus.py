"""Products and queries for the measurement: real texts as far as they go, then made ones."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from shelfbridge.catalogue import Product, read_rows
from shelfbridge.errors import DataError
from shelfbridge.graph import open_session
from shelfbridge.release import read_manifest
from shelfbridge.wordpieces import WordPieces

HELD_OUT = 300
LEAST, MOST = np.log(0.1), np.log(0.6)
"""Logarithms of the parts of a difference by which a product is moved to make another."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Corpus:
    """Products to index, and what is asked. Vectors [N, D] and texts [N] of products; queries [Q, D] each."""

    texts: list[str]
    vectors: Vectors
    likely: Vectors
    """By which the build chooses how thoroughly to search: three words of products that are indexed."""
    asked: dict[str, Vectors]
    asked_words: list[str]


class Encoder:
    """The encoder of a release, with a cache of what it made."""

    def __init__(self, release: Path, cache: Path) -> None:
        number = str(read_manifest(release)["release"])
        graph = release / "encoder" / number / "model.onnx"
        self.pieces = WordPieces(release / "preprocess" / number / "tokenizer.json")
        self.session = open_session(graph, threads=0)
        self.digest = hashlib.sha256(graph.read_bytes())
        self.cache = cache

    def __call__(self, texts: list[str]) -> Vectors:
        """Unit vectors [N, D] of texts."""
        digest = self.digest.copy()
        digest.update("\0".join(texts).encode())
        file = self.cache / f"{digest.hexdigest()[:16]}.npy"
        if file.exists():
            kept: Vectors = np.load(file)
            return kept
        order = np.argsort([len(text) for text in texts], kind="stable")
        parts = []
        for start in track(range(0, len(texts), 64), description=f"encoding {len(texts):,} texts"):
            ids, mask = self.pieces.products([texts[at] for at in order[start : start + 64]])
            parts.append(self.session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0])
        vectors: Vectors = np.concatenate(parts)[np.argsort(order)]
        self.cache.mkdir(parents=True, exist_ok=True)
        np.save(file, vectors)
        return vectors


def read_texts(path: Path) -> list[str]:
    """Distinct texts of a file's products.

    Raises:
        DataError: the file cannot be read, or holds too few.
    """
    rows = (row for _, row in read_rows(path, needed=("product_id",)) if isinstance(row, dict))
    texts = list(dict.fromkeys(_text(row) for row in rows))
    if len(texts) < 4 * HELD_OUT:
        raise DataError(f"{path}: {len(texts)} different texts; {4 * HELD_OUT} are needed at least")
    return texts


def _text(row: dict[str, Any]) -> str:
    if row.get("title"):
        return Product.model_validate(row).full_text
    return " ".join(str(value) for name, value in row.items() if name != "product_id" and value is not None)


def corpus(texts: list[str], encode: Encoder) -> Corpus:
    """Hold queries out of texts, and encode all."""
    random = np.random.default_rng(7)
    mixed = [texts[at] for at in random.permutation(len(texts))]
    held, rest = mixed[:HELD_OUT], mixed[HELD_OUT:]
    words, likely = ([three_words(text, random) for text in some] for some in (held, rest[:HELD_OUT]))
    asked = {"words": encode(words), "texts": encode(held)}
    return Corpus(rest, encode(rest), encode(likely), asked, words)


def three_words(text: str, random: np.random.Generator) -> str:
    """Any three words of a text."""
    words = text.split()
    return " ".join(words[at] for at in random.permutation(len(words))[:3])


def more_vectors(vectors: Vectors, count: int) -> Vectors:
    """`count` unit vectors: the given ones as far as they go, then moved ones."""
    grown = np.empty((count, vectors.shape[1]), np.float32)
    real = min(count, len(vectors))
    grown[:real] = vectors[:real]
    random = np.random.default_rng(7)
    for start in range(real, count, 50_000):
        size = min(50_000, count - start)
        base, one, apart = random.integers((0, 0, 1), len(vectors), size=(size, 3)).T
        other = (one + apart) % len(vectors)
        part = np.exp(random.uniform(LEAST, MOST, (size, 1))).astype(np.float32)
        moved = vectors[base] + part * (vectors[one] - vectors[other])
        grown[start : start + size] = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return grown


def more_texts(texts: list[str], count: int) -> list[str]:
    """`count` texts: the given ones as far as they go, then some with a third of their words replaced."""
    random = np.random.default_rng(7)
    vocabulary = np.array(" ".join(texts).split())
    made = texts[:count]
    while len(made) < count:
        words = texts[random.integers(len(texts))].split()
        places = random.permutation(len(words))[: 1 + len(words) // 3]
        for place, word in zip(places, vocabulary[random.integers(len(vocabulary), size=len(places))], strict=True):
            words[place] = word
        made.append(" ".join(words))
    return made


def intrinsic_dimension(vectors: Vectors, queries: Vectors) -> float:
    """Median over queries of the local intrinsic dimension by their hundred nearest."""
    scores, _ = faiss.knn(queries, vectors, 100, metric=faiss.METRIC_INNER_PRODUCT)
    distances = np.sqrt(np.maximum(2 - 2 * scores, 1e-9))
    return float(np.median(-1 / np.log(distances[:, :-1] / distances[:, -1:]).mean(1)))
