"""BM25 over the fields of the products: each term's products and weights, mapped from files that all processes share.

What a field knows of a whole catalogue (`Statistics`) is apart from the products that are weighed by it, so that
products that come later can be weighed as if they had been there.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from shelfbridge.errors import ArtefactError
from shelfbridge.retrieval.ragged import load

K1 = 1.5
B = 0.75
UNSEEN = -1
"""Number of a term that the vocabulary does not have."""
Postings = tuple[NDArray[np.int32], NDArray[np.float32]]
Number = TypeVar("Number", np.float32, np.float64)
_FILES = ("products", "weights", "starts", "peaks", "idf", "statistics")


@dataclass(frozen=True)
class Documents:
    """The terms of each product's field, one after the other: their numbers [sum of lengths], and the lengths [N]."""

    terms: NDArray[np.int32]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Iterable[Sequence[str]], vocabulary: dict[str, int]) -> "Documents":
        """Number the terms of texts; a term that the vocabulary lacks is added to it."""
        lengths: list[int] = []

        def numbers() -> Iterable[int]:
            for terms in texts:
                lengths.append(len(terms))
                for term in terms:
                    yield vocabulary.setdefault(term, len(vocabulary))

        terms = np.fromiter(numbers(), np.int32)
        return cls(terms, np.array(lengths, np.int64))


@dataclass(frozen=True)
class Statistics:
    """What BM25 needs to know of all products: how many, mean length of the field, products that hold each term [V]."""

    size: int
    average: float
    holders: NDArray[np.int64]

    @classmethod
    def of(cls, documents: Documents, vocabulary: int) -> "Statistics":
        """Count the products themselves, for a vocabulary of so many terms."""
        held = np.unique(_pairs(documents)) // max(len(documents.lengths), 1)
        average = float(documents.lengths.mean()) if len(documents.lengths) else 0.0
        return cls(len(documents.lengths), average, np.bincount(held, minlength=vocabulary))

    def idf(self) -> NDArray[np.float64]:
        """Rarity of each term, and at the end (place -1) of one that no product holds: float64 [V + 1]."""
        holders = np.append(self.holders, 0)
        return np.log1p((self.size - holders + 0.5) / (holders + 0.5))

    def weights(
        self, terms: NDArray[np.int64], counts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """BM25 in Lucene's variant (Kamphuis et al., ECIR 2020), k1 1.5, b 0.75, of terms in products.

        Args:
            terms: numbers [P].
            counts: how often the product has the term [P].
            lengths: terms of the product's field in all [P].
        """
        distinct, places = np.unique(self.holders[terms], return_inverse=True)
        rarity = [math.log(1 + (self.size - holders + 0.5) / (holders + 0.5)) for holders in distinct.tolist()]
        norms = (K1 * ((1 - B) + B * lengths / max(self.average, 1e-9))).astype(np.float32)
        often = counts.astype(np.float32)
        weights: NDArray[np.float32] = np.array(rarity, np.float32)[places] * (often / (norms + often))
        return weights


@dataclass(frozen=True)
class Held:
    """What R products have of T terms in each of F fields."""

    held: NDArray[np.bool_]
    """Whether they hold them, [T, F, R]."""
    weights: NDArray[np.float32]
    """Their weights, 0 where they are not held, [T, F, R]."""
    idf: NDArray[np.float64]
    """[T, F]"""

    @property
    def rarity(self) -> NDArray[np.float64]:
        """Sum of the terms' idf, the scale of `bm25`: [F]."""
        return _sum(self.idf)

    def bm25(self) -> NDArray[np.float32]:
        """Sum of the terms' weights, [F, R]."""
        return _sum(self.weights)

    def coverage(self) -> NDArray[np.float32]:
        """Share of the terms, weighted by their rarity, that each product holds, [F, R] in 0..1; 0 without terms."""
        rarity = self.rarity.astype(np.float32)[:, None]
        weighted: NDArray[np.float32] = self.held * self.idf.astype(np.float32)[:, :, None]
        shares: NDArray[np.float32] = _sum(weighted) / np.where(rarity > 0, rarity, np.float32(1))
        return shares

    def share(self, some: Sequence[int] | slice = slice(None)) -> NDArray[np.float32]:
        """Share of the terms, or of those at some places, that each product holds, [F, R]; 0 without terms."""
        held = self.held[some]
        return _sum(held.astype(np.float32)) / np.float32(max(len(held), 1))


@dataclass(frozen=True)
class LexicalIndex:
    """An inverted index of F fields of N products: the products that hold a term in a field, in order, and its weights.

    The lists lie one behind the other, all of the first field first: that of term t in field f is number f * V + t.
    """

    products: NDArray[np.int32]
    weights: NDArray[np.float32]
    starts: NDArray[np.int64]
    """[F * V + 1]"""
    peaks: NDArray[np.float32]
    """Greatest weight in each list, [F, V]."""
    idf: NDArray[np.float64]
    """[F, V + 1], as `Statistics.idf`."""
    size: int
    averages: NDArray[np.float64]
    """Mean length of each field, [F]."""

    def postings(self, field: int, term: int) -> Postings:
        """The products that hold a term, in order, and its weight in each."""
        begin, end = self._bounds(field, term)
        return self.products[begin:end], self.weights[begin:end]

    def look_up(self, fields: Sequence[int], terms: Sequence[int], rows: NDArray[np.int32]) -> Held:
        """What some products have of some terms, whatever the size of the catalogue.

        Args:
            fields: numbers [F].
            terms: numbers [T].
            rows: products, int32 [R]; quickest in order.
        """
        shape = (len(terms), len(fields), len(rows))
        idf = self.rarity(fields, terms)
        if not len(self.products):
            return Held(np.zeros(shape, bool), np.zeros(shape, np.float32), idf)
        bounds = [self._bounds(field, term) for term in terms for field in fields]
        begins, ends = np.array(bounds, np.int64).reshape(-1, 2, 1).swapaxes(0, 1)
        places = np.empty((len(bounds), len(rows)), np.int64)
        for place, (begin, end) in zip(places, bounds, strict=True):
            place[:] = self.products[begin:end].searchsorted(rows)
        places += begins
        held = self.products.take(places, mode="clip") == rows
        held &= places < ends
        weights = self.weights.take(places, mode="clip") * held
        return Held(held.reshape(shape), weights.reshape(shape), idf)

    def rarity(self, fields: Sequence[int], terms: Sequence[int]) -> NDArray[np.float64]:
        """The idf of terms in fields, [T, F]."""
        idf: NDArray[np.float64] = self.idf[np.array(fields), np.array(terms, np.intp)[:, None]]
        return idf

    def statistics(self, field: int, terms: Sequence[int]) -> Statistics:
        """What is known of the products, for a vocabulary of some of the terms, numbered as they stand there."""
        bounds = np.array([self._bounds(field, term) for term in terms], np.int64).reshape(-1, 2)
        return Statistics(self.size, float(self.averages[field]), bounds[:, 1] - bounds[:, 0])

    def _bounds(self, field: int, term: int) -> tuple[int, int]:
        if term == UNSEEN:
            return 0, 0
        number = field * self.peaks.shape[1] + term
        begin, end = self.starts[number : number + 2].tolist()
        return begin, end

    @staticmethod
    def write(folder: Path, fields: Sequence[tuple[Documents, Statistics]]) -> None:
        """Index the fields of products, each weighed by what is known of the catalogue that they belong to."""
        lists = [_lists(*field) for field in fields]
        lengths = np.concatenate([counts for _, _, counts, _ in lists])
        arrays: tuple[NDArray[Any], ...] = (
            np.concatenate([products for products, *_ in lists]),
            np.concatenate([weights for _, weights, *_ in lists]),
            np.cumsum([0, *lengths], dtype=np.int64),
            np.stack([peaks for *_, peaks in lists]),
            np.stack([statistics.idf() for _, statistics in fields]),
            np.array([len(fields[0][0].lengths), *(statistics.average for _, statistics in fields)], np.float64),
        )
        folder.mkdir(parents=True)
        for name, array in zip(_FILES, arrays, strict=True):
            np.save(folder / f"{name}.npy", array)

    @classmethod
    def open(cls, folder: Path) -> "LexicalIndex":
        """Map what `write` wrote.

        Raises:
            ArtefactError: a file is missing, damaged, or does not belong to the others.
        """
        products, weights, starts, peaks, idf, numbers = (
            load(folder / f"{name}.npy").view(np.ndarray) for name in _FILES
        )
        whole = starts[-1] == len(products) == len(weights) and len(numbers) == 1 + len(peaks)
        if not whole or len(starts) != peaks.size + 1:
            raise ArtefactError(f"{folder}: its files do not belong to each other; build the release again")
        return cls(products, weights, starts, peaks, idf, int(numbers[0]), numbers[1:])


def _lists(
    documents: Documents, statistics: Statistics
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Products and weights of a field's lists, one behind the other; the lists' lengths and peaks."""
    keys, counts = np.unique(_pairs(documents), return_counts=True)
    terms, products = np.divmod(keys, max(len(documents.lengths), 1))
    weights = statistics.weights(terms, counts, documents.lengths[products])
    lengths = np.bincount(terms, minlength=len(statistics.holders))
    peaks = np.zeros(len(lengths), np.float32)
    if len(weights):
        peaks[lengths > 0] = np.maximum.reduceat(weights, np.flatnonzero(np.diff(terms, prepend=-1)))
    return products.astype(np.int32), weights, lengths, peaks


def _pairs(documents: Documents) -> NDArray[np.int64]:
    """Term and product of each occurrence as one number: term * N + product."""
    size = len(documents.lengths)
    owners = np.repeat(np.arange(size), documents.lengths)
    return documents.terms.astype(np.int64) * size + owners


def _sum(values: NDArray[Number]) -> NDArray[Number]:
    """Sum over the first axis, term by term: numpy's own sum may add in another order, which other bits come of."""
    total = np.zeros(values.shape[1:], values.dtype)
    for of_term in values:
        total += of_term
    return total
