"""Train the ranker's head on graded judgments, with the cross-encoder as a teacher.

The loss is RankNet's (Burges et al., ICML 2005): the logistic loss of each pair of a query's candidates that differ in
gain, weighted by the difference and by query. The teacher adds the same loss for the pairs that it tells apart. A
linear head has one optimum, which L-BFGS finds in a second; chosen on dev is only how much the teacher counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from build import examples
from build.examples import Example
from build.models import Blend, CrossEncoder, Ranker
from build.offline import EncodedQuery, Retrieval, ranker_inputs
from build.progress import progress
from build.settings import Settings
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.contract import SHORTLIST
from shelfbridge.measure.ranking import ndcg
from shelfbridge.retrieval import ProductPairs

TEACHER_WEIGHTS = (0.0, 0.3, 1.0)
"""How much the teacher's pairs are tried to count beside the judged ones."""
LEAST_DIFFERENCE = 0.05
"""Of the worth of two products that make a pair: complement and irrelevant make none."""
UNJUDGED = 0.3
"""Trust in an unjudged candidate being worse than a right one: it may be as good (5-fold nDCG@10 0.699 -> 0.710)."""
BLENDS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Weights tried for the cross-encoder's logits beside the ranker's scores. None is 0: its graph would say nothing."""


@dataclass(frozen=True)
class Lists:
    """The candidates of some queries.

    features: [Q, C, 5 + F]; rows: [Q, C], -1 where padded; gains: [Q, C], NaN where not judged; judged:
    per query, the gains of all its judged products, which make its ideal.
    """

    queries: list[EncodedQuery]
    features: Tensor
    rows: Tensor
    gains: Tensor
    judged: list[NDArray[Any]]

    def of(self, places: Sequence[int]) -> "Lists":
        """Those of some queries."""
        features, rows, gains = (part[list(places)] for part in (self.features, self.rows, self.gains))
        judged = [self.judged[place] for place in places]
        return Lists([self.queries[place] for place in places], features, rows, gains, judged)


def train(
    folder: Path,
    *,
    tokenizer: Path,
    graph: Path,
    index: Path,
    pieces: Path,
    cross_encoder: Path,
    catalogue: Catalogue,
    judgments: Judgments,
    settings: Settings,
    console: Console,
) -> None:
    """Train on the train split, choose on dev, write the head."""
    chosen = settings.ranker
    retrieval = Retrieval.open(tokenizer / "tokenizer.json", graph / "model.onnx", index)
    ranker = Ranker(float(np.load(index / "scale.npy"))).requires_grad_(False)
    teacher = Teacher(CrossEncoder.load(cross_encoder), ProductPairs.open(pieces))
    train_set = examples.judged(catalogue, judgments.of("train"))
    dev_set = examples.judged(catalogue, judgments.of("dev"))
    lists, dev = (gather(some, retrieval, ranker, console) for some in (train_set, dev_set))
    in_order = torch.arange(lists.rows.shape[1]).expand(lists.rows.shape)
    taught = teacher.opinions(lists, in_order, chosen.teacher_queries, console)
    heads = {weight: fit_head(lists, taught, weight, chosen.decay) for weight in TEACHER_WEIGHTS}
    figures = {weight: mean_ndcg(dev.features @ head.weight[0], dev) for weight, head in heads.items()}
    best = max(figures, key=lambda weight: figures[weight])
    ranker.head.load_state_dict(heads[best].state_dict())
    ranker.save(folder)
    console.print(f"  dev nDCG@10: {figures[best]:.3f}, the teacher counting {best}")


def write_blend(
    folder: Path,
    *,
    tokenizer: Path,
    graph: Path,
    index: Path,
    pieces: Path,
    ranker: Path,
    cross_encoder: Path,
    catalogue: Catalogue,
    judgments: Judgments,
    queries: int,
    console: Console,
) -> None:
    """Choose on dev how much the cross-encoder's logits count in `search_deep`, and write it to `blend.npy`.

    Args:
        queries: of dev at most, taken evenly.
    """
    retrieval = Retrieval.open(tokenizer / "tokenizer.json", graph / "model.onnx", index)
    head = Ranker.load(ranker).requires_grad_(False)
    reader = Teacher(CrossEncoder.load(cross_encoder), ProductPairs.open(pieces))
    some = examples.judged(catalogue, judgments.of("dev"))
    dev = gather(some[:: -(-len(some) // queries)], retrieval, head, console)
    weight = choose_blend(dev.features @ head.head.weight[0], dev, reader, console)
    console.print(f"  weight of the cross-encoder in search_deep: {weight}")
    np.save(folder / "blend.npy", np.float32(weight))


def gather(some: Sequence[Example], retrieval: Retrieval, ranker: Ranker, console: Console) -> Lists:
    """Retrieve, and compute what the ranker's head sees."""
    queries, features, rows, gains = [], [], [], []
    with progress(console) as bar, torch.inference_mode():
        for example in bar.track(some, description="candidates"):
            query = retrieval.encode(example.query)
            found = retrieval.candidates(query)
            gain = dict(zip(example.rows, example.gains, strict=True))
            queries.append(query)
            features.append(ranker.features(*map(torch.from_numpy, ranker_inputs(query, found).values()))[0])
            rows.append(torch.from_numpy(found.rows))
            gains.append(torch.tensor([gain.get(int(row), torch.nan) for row in found.rows]))
    judged = [np.array(example.gains) for example in some]
    return Lists(queries, torch.stack(features), torch.stack(rows), torch.stack(gains), judged)


def fit_head(lists: Lists, opinions: Tensor, teacher_weight: float, decay: float) -> nn.Linear:
    """The linear head of least loss, for features as they come."""
    known = lists.rows >= 0
    real = lists.features[known]
    mean, deviation = real.mean(0), real.std(0).clamp(min=1e-3)
    even = (lists.features - mean) / deviation
    trust = torch.where(lists.gains.isnan(), UNJUDGED, 1.0)
    judged = pairs(lists.gains.nan_to_num().masked_fill(~known, torch.nan), trust)
    taught = pairs(opinions.sigmoid(), torch.ones_like(trust))
    weight = torch.zeros(real.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weight], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        scores = even @ weight
        value = judged.loss(scores) + teacher_weight * taught.loss(scores) + decay * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    head = nn.Linear(len(weight), 1)
    head.weight.data[0] = weight.detach() / deviation
    head.bias.data[0] = -(head.weight.data[0] @ mean)
    return head.requires_grad_(False)


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


@dataclass(frozen=True)
class Teacher:
    """The cross-encoder, as it reads a query beside the stored word pieces of products."""

    model: CrossEncoder
    products: ProductPairs

    def opinions(self, lists: Lists, order: Tensor, queries: int, console: Console) -> Tensor:
        """Logits [Q, C] of the first `SHORTLIST` candidates in an order [Q, C], NaN for the others."""
        logits = torch.full(lists.rows.shape, torch.nan)
        with progress(console) as bar, torch.inference_mode():
            for place in bar.track(range(min(queries, len(lists.queries))), description="asking the teacher"):
                first = order[place, :SHORTLIST]
                first = first[lists.rows[place, first] >= 0]
                if len(first):
                    query = lists.queries[place]
                    pieces = query.input_ids[0][query.attention_mask[0] == 1]
                    ids, types, mask = self.products.pair(pieces, lists.rows[place, first].numpy())
                    logits[place, first] = self.model(*map(torch.from_numpy, (ids, mask, types)))
        return logits


def mean_ndcg(scores: Tensor, lists: Lists) -> float:
    """Mean of `ndcgs`."""
    return float(ndcgs(scores, lists).mean())


def ndcgs(scores: Tensor, lists: Lists) -> NDArray[Any]:
    """nDCG@10 of scores [Q, C] by query, float64 [Q], against the ideal of all judgments."""
    ranked = scores.masked_fill(lists.rows < 0, -torch.inf).numpy()
    return np.array([ndcg(*one) for one in zip(ranked, lists.gains.nan_to_num().numpy(), lists.judged, strict=True)])


def choose_blend(scores: Tensor, dev: Lists, teacher: Teacher, console: Console) -> float:
    """The weight of the cross-encoder's logits beside the ranker's scores [Q, C] that serves dev best."""
    order = scores.masked_fill(dev.rows < 0, -torch.inf).argsort(dim=1, descending=True)
    logits = teacher.opinions(dev, order, len(dev.queries), console)
    figures = {weight: mean_ndcg(_blended(scores, logits, order, weight), dev) for weight in BLENDS}
    return max(figures, key=lambda weight: figures[weight])


def _blended(scores: Tensor, logits: Tensor, order: Tensor, weight: float) -> Tensor:
    """As `models.Blend`: the first of the order, moved by the logits, stay ahead of the others."""
    ranked = scores.gather(1, order)
    best = ranked[:, :SHORTLIST] + weight * logits.gather(1, order[:, :SHORTLIST]).nan_to_num()
    rest = ranked[:, SHORTLIST:]
    behind = (best.amin(1, keepdim=True) - rest.amax(1, keepdim=True) - Blend.MARGIN).clamp(max=0.0)
    return scores.scatter(1, order, torch.cat([best, rest + behind], dim=1))
