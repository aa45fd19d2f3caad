"""The ranker's head: it starts from an order that needs no judgments and leaves it only as far as they can tell.

The head's features hold the place in the fusion and the BM25 score, so that both orders are points of its parameters.
It is fitted by RankNet's loss (Burges et al., ICML 2005): the logistic loss of each pair of a query's candidates that
differ in gain, weighted by the difference and by query, plus a penalty on the squared distance from the fusion's
point. Several strengths of that penalty are tried, and trees (`build.training.trees`) over the best of them. What is
served is the best on dev of those whose gain over the fusion has a lower confidence bound above 0, so that a head which
few queries cannot tell from the fusion is not served.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from torch.nn import functional

from build.data.splits import FEW
from build.training.models import Ranker
from build.training.trees import Trees

POINTS = {"fusion": "fused", "BM25": "bm25"}
"""Orders that need no judgments, and the feature whose order each is."""
DEFAULT = "fusion"
CONFIDENCE, OF_FEW = 0.84, 0.95
"""Of the one-sided lower bound that says whether dev can tell a candidate from the default: one standard error, more of
fewer than `FEW` queries. Draws of 97 and 24 queries of the sample shop never came out worse than the fusion so, and a
fashion shop's eight dev queries did."""
LEAST_DIFFERENCE = 0.05
"""Least difference in worth of two products that make a pair: complement and irrelevant make none."""
UNJUDGED = 0.3
"""Trust in an unjudged candidate being worse than a right one: it may be as good (5-fold nDCG@10 0.699 -> 0.710)."""


@dataclass(frozen=True)
class Head:
    """Weights float32 [W] of the ranker's features, and trees whose values are added."""

    weight: Tensor
    trees: Trees | None = None

    def scores(self, features: Tensor) -> Tensor:
        """Scores [Q, C] of features [Q, C, W]."""
        linear = features @ self.weight
        return linear if self.trees is None else linear + self.trees(features)

    def put_on(self, ranker: Ranker, features: Tensor) -> None:
        """Make this the head of a ranker; the mean score of some candidates' features [N, W] becomes 0."""
        ranker.head.weight.copy_(self.weight[None])
        ranker.trees = self.trees
        ranker.head.bias.copy_(-self.scores(features[None]).mean())


@dataclass(frozen=True)
class Pairs:
    """Pairs of candidates in which the first is the better one: query, first, second, weight; [M] each."""

    query: Tensor
    better: Tensor
    worse: Tensor
    weight: Tensor

    def loss(self, scores: Tensor) -> Tensor:
        """Weighted logistic loss of scores [Q, C]."""
        return (
            self.weight * functional.softplus(scores[self.query, self.worse] - scores[self.query, self.better])
        ).sum()


def pairs(worth: Tensor, trust: Tensor) -> Pairs:
    """The pairs of each query that differ in worth [Q, C], NaN where it is not known.

    A pair weighs as its difference and as the trust [Q, C] in its worse product; all queries weigh the same.
    """
    query, better, worse = torch.where(worth[:, :, None] - worth[:, None, :] > LEAST_DIFFERENCE)
    weight = (worth[query, better] - worth[query, worse]) * trust[query, worse]
    total = torch.zeros(len(worth)).index_add_(0, query, weight)
    return Pairs(query, better, worse, weight / total[query] / max(1, int((total > 0).sum())))


def point(name: str) -> Head:
    """The head whose order is that of `POINTS[name]`."""
    weight = torch.zeros(len(Ranker.FEATURES))
    weight[Ranker.FEATURES.index(POINTS[name])] = 1.0
    return Head(weight)


def fit_head(
    features: Tensor, *, rows: Tensor, gains: Tensor, opinions: Tensor, teacher: float, decay: float
) -> Tensor:
    """Return the head's weights of least loss, float32 [W].

    Args:
        features: float32 [Q, C, W], as `Ranker.features` gives them.
        rows: [Q, C], -1 where there is padding.
        gains: [Q, C], NaN where not judged.
        opinions: logits [Q, C] of the cross-encoder, NaN where it was not asked.
        teacher: how much its pairs count beside the judged ones.
        decay: strength of the penalty on the distance from the fusion's point, in features of variance one.
    """
    known = rows >= 0
    real = features[known]
    mean, deviation = real.mean(0), real.std(0).clamp(min=1e-3)
    even = (features - mean) / deviation
    judged = pairs(gains.nan_to_num().masked_fill(~known, torch.nan), torch.where(gains.isnan(), UNJUDGED, 1.0))
    taught = pairs(opinions.sigmoid(), torch.ones_like(gains))

    def loss(weight: Tensor) -> Tensor:
        scores = even @ weight
        return judged.loss(scores) + teacher * taught.loss(scores)

    direction = point(DEFAULT).weight
    (length,) = _least(lambda one: loss(one.exp() * direction) + decay * one.square().sum(), torch.zeros(1))
    start = length.exp() * direction
    weight = _least(lambda one: loss(one) + decay * (one - start).square().sum(), start)
    return weight / deviation


def _least(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """Where a convex loss is least, by L-BFGS from `start`."""
    weight = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([weight], max_iter=100, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimiser.zero_grad()
        value = loss(weight)
        value.backward()
        return value

    optimiser.step(step)
    return weight.detach()


@dataclass(frozen=True)
class Choice:
    """What was chosen of some candidates, and what dev says of each: nDCG@10 and the bound that chose."""

    name: str
    queries: int
    ndcg: dict[str, float]
    bound: dict[str, float]

    @property
    def told(self) -> bool:
        """Whether dev can tell that anything is better than the default."""
        return max(self.bound.values()) > 0


def choose(figures: Mapping[str, NDArray[np.float64]], default: str) -> Choice:
    """Choose the best of the candidates whose gain over the default has a lower confidence bound above 0; else that.

    Args:
        figures: nDCG@10 [Q] of each dev query, by candidate; the default is among them.
    """
    bound = {name: lower_bound(values - figures[default]) for name, values in figures.items()}
    bound[default] = 0.0
    means = {name: float(values.mean()) for name, values in figures.items()}
    told = [name for name in means if bound[name] > 0]
    return Choice(max(told, key=lambda name: means[name], default=default), len(figures[default]), means, bound)


def lower_bound(differences: NDArray[np.float64]) -> float:
    """One-sided lower confidence bound of a mean of paired differences [Q], by Student's t; of one query, none."""
    count = len(differences)
    if count < 2:
        return -float("inf")
    error = float(differences.std(ddof=1)) / count**0.5
    confidence = OF_FEW if count < FEW else CONFIDENCE
    return float(differences.mean() - stats.t.ppf(confidence, count - 1) * error)
