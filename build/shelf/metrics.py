"""How good rankings of all products are, by case, and whether one way is better than another.

Every product is ranked; samples of negatives order models differently than the whole does (Krichene & Rendle, KDD
2020).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build.shelf.split import Case
from shelfbridge.measure.intervals import Interval, mean_interval
from shelfbridge.measure.ranking import ndcg, recall, reciprocal_rank

CUT = 20
PARTS = ("overall", "new", "repeat")
"""All that was bought next; what that shopper had not bought before, without the rest of the ranking; what they had."""
NAMES = ("recall", "ndcg", "mrr")


@dataclass(frozen=True, eq=False)
class Figures:
    """Of N cases: values of `NAMES` by `PARTS`, float64 [N, 3, 3], NaN where a case has none of that part."""

    users: NDArray[np.int64]
    values: NDArray[np.float64]
    coverage: float
    """Share of all products that are among the first `CUT` of any case."""

    def column(self, part: str, name: str) -> NDArray[np.float64]:
        """By case [N]."""
        return self.values[:, PARTS.index(part), NAMES.index(name)]

    def mean(self, part: str, name: str) -> float:
        """Over the cases that have the part; NaN where none has."""
        column = self.column(part, name)
        return float(np.nanmean(column)) if not np.isnan(column).all() else float("nan")

    def means(self, name: str) -> dict[str, float]:
        """By part."""
        return {part: self.mean(part, name) for part in PARTS}

    def interval(self, part: str, name: str) -> Interval:
        """The mean with its 95 % interval over users, whose cases go together."""
        return mean_interval(self.column(part, name), self.users)

    def record(self) -> dict[str, Any]:
        """All means."""
        means = {part: {name: self.mean(part, name) for name in NAMES} for part in PARTS}
        return {**means, "coverage": self.coverage}


def measure(cases: Sequence[Case], scores: Sequence[NDArray[np.float32]]) -> Figures:
    """Figures of scores [products] by case; -inf is never shown, ties go by number."""
    values = np.full((len(cases), len(PARTS), len(NAMES)), np.nan)
    shown: set[int] = set()
    for place, (case, score) in enumerate(zip(cases, scores, strict=True)):
        order = np.argsort(-score, kind="stable")
        order = order[score[order] > -np.inf]
        wanted, before = np.zeros(len(score), bool), np.zeros(len(score), bool)
        wanted[case.bought] = True
        before[case.history.items] = True
        shown.update(order[:CUT].tolist())
        for part, allowed in enumerate((np.ones_like(before), ~before, before)):
            if total := int((wanted & allowed).sum()):
                hits = wanted[order[allowed[order]]]
                gain = ndcg(-np.arange(len(hits)), hits, judged=np.ones(total), depth=CUT)
                values[place, part] = recall(hits, total, CUT), gain, reciprocal_rank(hits)
    products = len(scores[0]) if len(scores) else 1
    return Figures(np.array([case.user for case in cases], np.int64), values, len(shown) / products)


def compared(ours: Figures, other: Figures, part: str, name: str) -> dict[str, float]:
    """Return the mean difference by case, with its 95 % interval over users, whose cases go together."""
    return paired(ours.column(part, name) - other.column(part, name), ours.users)


def paired(difference: NDArray[np.float64], users: NDArray[np.int64]) -> dict[str, float]:
    """Return the mean of differences by case [N], NaN left out, with its 95 % interval over users [N]."""
    found = mean_interval(difference, users)
    return {"difference": found.value, "low": found.low, "high": found.high, "users": found.count}
