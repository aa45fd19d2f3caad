"""What a shop would try first, each fitted to interactions and choosing nothing by itself."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from implicit.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from build.shelf.interactions import Interactions
from build.shelf.popularity import Popularity
from shelfbridge.errors import DataError
from shelfbridge.shelf.history import History

Scores = NDArray[np.float32]
LARGEST = 15_000
"""Products that a matrix of their pairs may have: 1.8 GB in double precision, which EASE inverts."""


class Model(Protocol):
    """Anything that scores all products for a shopper at a moment."""

    def score(self, history: History) -> Scores:
        """Float32 [products], more is better."""
        ...


class Popular:
    """What is bought lately, the same for everyone."""

    def __init__(self, popularity: Popularity) -> None:
        self._popularity = popularity

    def score(self, history: History) -> Scores:
        """As `Model`."""
        return self._popularity.at(history.now)


class Own:
    """What the shopper bought often and lately, then what is popular."""

    def __init__(self, popularity: Popularity, half_life: float) -> None:
        self._popularity, self._half_life = popularity, half_life

    def score(self, history: History) -> Scores:
        """As `Model`."""
        popular = self._popularity.at(history.now)
        return faded(history, len(popular), self._half_life) + popular * np.float32(1e-6 / (1 + popular.max()))


class ItemItem:
    """A weight from each product of the history to each product; older events count less."""

    def __init__(self, weights: NDArray[np.float32], half_life: float) -> None:
        self.weights, self._half_life = weights, half_life

    def score(self, history: History) -> Scores:
        """As `Model`."""
        weight = np.minimum(faded(history, len(self.weights), self._half_life), 1)
        items = np.flatnonzero(weight)
        scores: Scores = weight[items] @ self.weights[items]
        return scores


class OfSold:
    """A model of the products that interactions are with, among more; the others say nothing and score 0."""

    def __init__(self, interactions: Interactions, fit: Callable[[Interactions], Model]) -> None:
        """Fit to interactions whose products are numbered anew."""
        self._sold, some = sold(interactions)
        self._model = fit(some)
        self._places = np.full(len(interactions.items), -1, np.int32)
        self._places[self._sold] = np.arange(len(self._sold))

    def score(self, history: History) -> Scores:
        """As `Model`."""
        known = history.without(self._places < 0)
        scores = np.zeros(len(self._places), np.float32)
        scores[self._sold] = self._model.score(History(known.now, self._places[known.items], known.times, known.kinds))
        return scores


class Als:
    """Factors of implicit feedback by alternating least squares (Hu, Koren & Volinsky, ICDM 2008)."""

    def __init__(self, interactions: Interactions, *, factors: int, strength: float, threads: int = 1) -> None:
        """Fit.

        Args:
            strength: how much surer a purchase is than the lack of one.
        """
        with threadpool_limits(1, "blas"):  # implicit has threads of its own, and warns of more
            self._model = AlternatingLeastSquares(
                factors=factors, regularization=0.05, alpha=strength, iterations=15, num_threads=threads, random_state=7
            )
            self._model.fit(bought_by(interactions), show_progress=False)

    def score(self, history: History) -> Scores:
        """As `Model`."""
        items = np.unique(history.items)
        products = len(self._model.item_factors)
        row = sparse.csr_matrix((np.ones(len(items), np.float32), (np.zeros_like(items), items)), (1, products))
        scores: Scores = self._model.item_factors @ self._model.recalculate_user(0, row)
        return scores


def faded(history: History, products: int, half_life: float) -> Scores:
    """Events by product, each counting half as much after every half-life in days; float32 [products]."""
    summed: Scores = np.bincount(history.items, 0.5 ** (history.ages / half_life), products).astype(np.float32)
    return summed


def sold(interactions: Interactions) -> tuple[NDArray[np.int32], Interactions]:
    """Numbers of the products that interactions are with [S], and the interactions with places among them."""
    numbers, item = np.unique(interactions.item, return_inverse=True)
    ids = tuple(interactions.items[number] for number in numbers)
    return numbers, replace(interactions, item=item.astype(np.int32), items=ids)


def bought_by(interactions: Interactions, by: str = "user") -> sparse.csr_matrix:
    """1 where a user, or a basket, has a product; float32 [users, products]."""
    rows = getattr(interactions, by)
    shape = (int(rows.max()) + 1, len(interactions.items))
    matrix = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, interactions.item)), shape)
    matrix.data[:] = 1
    return matrix


def ease(interactions: Interactions, penalty: float) -> NDArray[np.float32]:
    """Weights [products, products] of EASE: ridge regression of each product on all others (Steck, WWW 2019).

    Raises:
        DataError: more than `LARGEST` products.
    """
    gram = _shared(interactions, "user").astype(np.float64)
    gram[np.diag_indices_from(gram)] += penalty
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    found: NDArray[np.float32] = weights.astype(np.float32)
    return found


def together(interactions: Interactions, by: str = "user") -> NDArray[np.float32]:
    """Cosines [products, products] of the users, or baskets, that products share; 0 of a product with itself.

    Raises:
        DataError: more than `LARGEST` products.
    """
    shared = _shared(interactions, by)
    length = np.sqrt(np.maximum(np.diag(shared), 1))
    cosines: NDArray[np.float32] = shared / length[:, None] / length
    np.fill_diagonal(cosines, 0)
    return cosines


def _shared(interactions: Interactions, by: str) -> Scores:
    products = len(interactions.items)
    if products > LARGEST:
        raise DataError(
            f"{products:,} products make a matrix of their square, and {LARGEST:,} may; "
            "leave out the interactions with those that hardly sell"
        )
    matrix = bought_by(interactions, by)
    found: Scores = (matrix.T @ matrix).toarray()
    return found


def scored(model: Model, histories: Sequence[History]) -> list[Scores]:
    """A model's scores of each."""
    return [model.score(history) for history in histories]
