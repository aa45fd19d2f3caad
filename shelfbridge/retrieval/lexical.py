"""BM25 over one field of the products, and how much of the query a product's field covers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
from numpy.typing import NDArray

from shelfbridge.errors import ArtefactError
from shelfbridge.retrieval.ragged import load


@dataclass(frozen=True)
class Match:
    """Scores of every product for one query."""

    bm25: NDArray[np.float32]
    """BM25 (Lucene's variant, k1 1.5, b 0.75), [N], 0 where no term occurs."""
    coverage: NDArray[np.float32]
    """Share of the query's terms, weighted by their rarity (idf), that occur in the product, [N] in 0..1."""
    rarity: float
    """Sum of the terms' idf: the scale of `bm25`."""


@dataclass(frozen=True)
class LexicalField:
    """An inverted index: for each term, the products that hold it and their BM25 weights, made by bm25s."""

    vocabulary: dict[str, int]
    weights: NDArray[np.float32]
    products: NDArray[np.int32]
    starts: NDArray[np.int64]
    size: int

    def match(self, terms: Sequence[str]) -> Match:
        """Score every product for the terms of a query; a repeated term counts once."""
        bm25 = np.zeros(self.size, np.float32)
        coverage = np.zeros(self.size, np.float32)
        total = 0.0
        for term in dict.fromkeys(terms):
            number = self.vocabulary.get(term)
            begin, end = (0, 0) if number is None else (self.starts[number], self.starts[number + 1])
            idf = float(np.log1p((self.size - (end - begin) + 0.5) / (end - begin + 0.5)))
            total += idf
            if end > begin:
                holders = self.products[begin:end]
                bm25[holders] += self.weights[begin:end]
                coverage[holders] += idf
        return Match(bm25, coverage / total if total else coverage, total)

    def share(self, terms: Sequence[str], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Share of some terms that each of the rows holds, [R]; 0 where there are no terms."""
        held = np.zeros(len(rows), np.float32)
        for term in terms:
            number = self.vocabulary.get(term)
            if number is not None:
                held += np.isin(rows, self.products[self.starts[number] : self.starts[number + 1]])
        return held / max(len(terms), 1)

    @staticmethod
    def write(folder: Path, documents: Sequence[Sequence[str]]) -> None:
        """Index the terms of each product's field."""
        index: Any = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
        with np.errstate(invalid="ignore"):  # no document has a term: 0 / 0 for the average length
            index.index([list(terms) for terms in documents], show_progress=False, create_empty_token=False)
        folder.mkdir(parents=True)
        np.save(folder / "weights.npy", index.scores["data"].astype(np.float32))
        np.save(folder / "products.npy", index.scores["indices"].astype(np.int32))
        np.save(folder / "starts.npy", index.scores["indptr"].astype(np.int64))
        vocabulary = {term: number for term, number in index.vocab_dict.items() if term}
        meta = {"size": len(documents), "vocabulary": vocabulary}
        (folder / "vocabulary.json").write_text(json.dumps(meta, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> "LexicalField":
        """Map what `write` wrote.

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        try:
            meta = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArtefactError(
                f"{folder}/vocabulary.json cannot be read ({error}); build the release again"
            ) from error
        arrays = (load(folder / f"{name}.npy").view(np.ndarray) for name in ("weights", "products", "starts"))
        weights, products, starts = arrays
        return cls(meta["vocabulary"], weights, products, starts, meta["size"])
