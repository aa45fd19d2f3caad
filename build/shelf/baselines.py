"""What a shop would try first: models fitted to interactions, and the settings from which a validation window chooses.

A model is a function: of a shopper's history, the scores of all products, float32 [products], more being better.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from implicit.als import AlternatingLeastSquares
from numpy.typing import NDArray
from rich.console import Console
from scipy import sparse
from threadpoolctl import threadpool_limits

from build.progress import progress
from build.shelf.interactions import Interactions
from build.shelf.metrics import Figures, measure
from build.shelf.split import Case
from shelfbridge.errors import DataError
from shelfbridge.shelf.history import DAY, History

Scores = NDArray[np.float32]
Model = Callable[[History], Scores]
LARGEST = 15_000
"""Products that a matrix of their pairs may have: 1.8 GB in double precision, which EASE inverts."""
GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "popular": {"half_life": (3, 7, 14, 28, 1000)},
    "own": {"half_life": (30, 60, 120, 240, 1000)},
    "co-occurrence": {"by": ("user", "basket"), "half_life": (14, 60, 1000)},
    "EASE": {"penalty": (20, 50, 100, 200, 500), "half_life": (60, 1000)},
    "ALS": {"factors": (32, 64, 128), "strength": (1, 3)},
}
"""The baselines with the settings that they may be given. Half-lives are of days: how fast a popularity or what is in a
history fades."""
LATELY = 7
"""Half-life of the popularity that stands behind what a shopper owns."""


class Popularity:
    """Baskets that held a product, each counting half as much after every half-life.

    A moment knows whole days only, up to the midnight (UTC) before it.
    """

    def __init__(self, interactions: Interactions, half_life: float) -> None:
        """Count; the half-life is in days."""
        lines = np.unique(np.stack([interactions.basket, interactions.item], 1), axis=0, return_index=True)[1]
        day, item = interactions.time[lines] // DAY, interactions.item[lines]
        self._first = int(interactions.time[0] // DAY)
        days = int(interactions.time[-1] // DAY) - self._first + 1
        counts = np.zeros((days + 1, len(interactions.items)), np.float32)
        np.add.at(counts, (day - self._first + 1, item), 1)
        self._fading = np.float32(0.5 ** (1 / half_life))
        for place in range(1, len(counts)):
            counts[place] += counts[place - 1] * self._fading
        self._counts = counts

    def at(self, now: int) -> Scores:
        """By product, float32 [products]."""
        day = now // DAY - self._first
        known: Scores = self._counts[max(0, min(day, len(self._counts) - 1))]
        return known * self._fading ** max(0, day - len(self._counts) + 1)


def popular(popularity: Popularity) -> Model:
    """What is bought lately, the same for everyone."""
    return lambda history: popularity.at(history.now)


def own(popularity: Popularity, half_life: float) -> Model:
    """What the shopper bought often and lately, then what is popular."""

    def score(history: History) -> Scores:
        behind = popularity.at(history.now)
        return faded(history, len(behind), half_life) + behind * np.float32(1e-6 / (1 + behind.max()))

    return score


def item_item(weights: NDArray[np.float32], half_life: float) -> Model:
    """A weight from each product of the history to each product [products, products]; older events count less."""

    def score(history: History) -> Scores:
        weight = np.minimum(faded(history, len(weights), half_life), 1)
        items = np.flatnonzero(weight)
        scores: Scores = weight[items] @ weights[items]
        return scores

    return score


def of_sold(interactions: Interactions, fit: Callable[[Interactions], Model]) -> Model:
    """A model of the products that interactions are with, numbered anew; the others say nothing and score 0."""
    numbers, places, some = sold(interactions)
    model = fit(some)

    def score(history: History) -> Scores:
        known = history.without(places < 0)
        scores = np.zeros(len(places), np.float32)
        scores[numbers] = model(History(known.now, places[known.items], known.times, known.kinds))
        return scores

    return score


def als(interactions: Interactions, *, factors: int, strength: float, threads: int = 1) -> Model:
    """Factors of implicit feedback by alternating least squares (Hu, Koren & Volinsky, ICDM 2008).

    `strength` is how much surer a purchase is than the lack of one.
    """
    with threadpool_limits(1, "blas"):  # implicit has threads of its own, and warns of more
        model = AlternatingLeastSquares(
            factors=factors, regularization=0.05, alpha=strength, iterations=15, num_threads=threads, random_state=7
        )
        model.fit(bought_by(interactions), show_progress=False)

    def score(history: History) -> Scores:
        items = np.unique(history.items)
        shape = (1, len(model.item_factors))
        row = sparse.csr_matrix((np.ones(len(items), np.float32), (np.zeros_like(items), items)), shape)
        scores: Scores = model.item_factors @ model.recalculate_user(0, row)
        return scores

    return score


def contender(name: str, setting: dict[str, Any], interactions: Interactions, cut: int) -> Model:
    """A baseline, fitted to what came before a moment; popularity goes on being counted, as a shop would."""
    past = interactions.before(cut)
    match name:
        case "popular":
            return popular(Popularity(interactions, **setting))
        case "own":
            return own(Popularity(interactions, LATELY), **setting)
        case "co-occurrence":
            return item_item(together(past, setting["by"]), setting["half_life"])
        case "EASE":
            return item_item(ease(past, setting["penalty"]), setting["half_life"])
        case _:
            return als(past, **setting)


def choose(
    interactions: Interactions, cut: int, cases: Sequence[Case], console: Console
) -> dict[str, tuple[dict[str, Any], Figures]]:
    """Of each baseline, fitted at a moment, the setting that is best on later cases, and its figures.

    Best is the sum of recall overall and of new products.
    """
    tried = [
        (name, dict(zip(grid, values, strict=True)))
        for name, grid in GRIDS.items()
        for values in product(*grid.values())
    ]
    best: dict[str, tuple[dict[str, Any], Figures]] = {}
    with progress(console) as bar:
        for name, setting in bar.track(tried, description="choosing baselines"):
            figures = measure(cases, scored(contender(name, setting, interactions, cut), cases))
            if name not in best or _worth(figures) > _worth(best[name][1]):
                best[name] = (setting, figures)
    return best


def _worth(figures: Figures) -> float:
    return figures.mean("overall", "recall") + figures.mean("new", "recall")


def scored(model: Model, cases: Sequence[Case]) -> list[Scores]:
    """A model's scores of each case's history."""
    return [model(case.history) for case in cases]


def faded(history: History, products: int, half_life: float) -> Scores:
    """Events by product, each counting half as much after every half-life in days; float32 [products]."""
    summed: Scores = np.bincount(history.items, 0.5 ** (history.ages / half_life), products).astype(np.float32)
    return summed


def sold(interactions: Interactions) -> tuple[NDArray[np.int32], NDArray[np.int32], Interactions]:
    """Numbers of the products that interactions are with [S], the place of each product among them [products] (-1 where
    it is none), and the interactions with places for numbers.
    """
    numbers, item = np.unique(interactions.item, return_inverse=True)
    places = np.full(len(interactions.items), -1, np.int32)
    places[numbers] = np.arange(len(numbers))
    ids = tuple(interactions.items[number] for number in numbers)
    return numbers, places, replace(interactions, item=item.astype(np.int32), items=ids)


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


def _shared(interactions: Interactions, by: str) -> NDArray[np.float32]:
    products = len(interactions.items)
    if products > LARGEST:
        raise DataError(
            f"{products:,} products make a matrix of their square, and {LARGEST:,} may; "
            "leave out the interactions with those that hardly sell"
        )
    matrix = bought_by(interactions, by)
    found: NDArray[np.float32] = (matrix.T @ matrix).toarray()
    return found
