"""Train the ranker's head on graded judgments, with the cross-encoder as a teacher.

The loss is ListNet's (Cao et al., ICML 2007): cross-entropy between the distribution that gains give to a query's
candidates and the one that scores give. The teacher adds the same loss towards its own distribution, for judged and
for unjudged queries alike.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional

from build import examples
from build.examples import Example
from build.models import CrossEncoder, Ranker
from build.offline import EncodedQuery, Retrieval, ranker_inputs
from build.settings import Settings
from build.training import progress
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.contract import SHORTLIST
from shelfbridge.retrieval import Candidates, ProductPairs

BLENDS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Weights tried for the cross-encoder's logits beside the ranker's scores."""


@dataclass(frozen=True)
class Lists:
    """Candidate lists of some queries, side by side.

    features: [Q, C, 2 + F]; known: [Q, C], False where padded; gains: [Q, C]; best: [Q], each query's ideal DCG@10;
    teacher: [Q, C], NaN where the teacher did not score.
    """

    features: Tensor
    known: Tensor
    gains: Tensor
    ideal: list[np.ndarray]
    teacher: Tensor


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
    """Train on the train split, choose on dev, write the head and the blend's weight."""
    chosen = settings.ranker
    torch.manual_seed(chosen.seed)
    retrieval = Retrieval.open(tokenizer / "tokenizer.json", graph / "model.onnx", index)
    ranker = Ranker(float(np.load(index / "scale.npy")))
    teacher = Teacher(CrossEncoder.load(cross_encoder), ProductPairs.open(pieces))
    train_set = examples.judged(catalogue, judgments.of("train"))
    dev_set = examples.judged(catalogue, judgments.of("dev"))
    lists = gather(train_set, retrieval, ranker, teacher, taught=chosen.teacher_queries, console=console)
    dev = gather(dev_set, retrieval, ranker, teacher, taught=len(dev_set), console=console)
    real = lists.features[lists.known]
    ranker.mean.copy_(real.mean(0))
    ranker.deviation.copy_(real.std(0).clamp(min=1e-3))
    best, best_weights = mean_ndcg(ranker, dev), copy.deepcopy(ranker.state_dict())
    optimiser = torch.optim.AdamW(ranker.parameters(), lr=chosen.learning_rate, weight_decay=0.01)
    for _ in range(chosen.epochs):
        scores = ranker.score(lists.features).masked_fill(~lists.known, -1e4)
        value = listwise(scores, lists.gains)
        taught = ~lists.teacher.isnan().all(1)
        if taught.any():
            goal = lists.teacher[taught].nan_to_num(-1e4)
            value = value + chosen.teacher_weight * functional.kl_div(
                scores[taught].masked_fill(lists.teacher[taught].isnan(), -1e4).log_softmax(1),
                goal.softmax(1),
                reduction="batchmean",
            )
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        if (figure := mean_ndcg(ranker, dev)) > best:
            best, best_weights = figure, copy.deepcopy(ranker.state_dict())
    ranker.load_state_dict(best_weights)
    console.print(f"  dev nDCG@10: {best:.3f}")
    ranker.save(folder)
    np.save(folder / "blend.npy", np.float32(choose_blend(ranker, dev, console)))


@dataclass(frozen=True)
class Teacher:
    """The cross-encoder's opinion of the first candidates of a query."""

    model: CrossEncoder
    products: ProductPairs

    def score(self, query: EncodedQuery, rows: np.ndarray) -> np.ndarray:
        """Logit per row."""
        ids, types, mask = self.products.pair(query.input_ids[0][query.attention_mask[0] == 1], rows)
        with torch.inference_mode():
            logits: np.ndarray = self.model(*map(torch.from_numpy, (ids, mask, types))).numpy()
        return logits


def gather(
    some: Sequence[Example], retrieval: Retrieval, ranker: Ranker, teacher: Teacher, *, taught: int, console: Console
) -> Lists:
    """Retrieve, compute what the ranker's head sees, and ask the teacher about the first `taught` queries."""
    features, known, gains, ideal, opinions = [], [], [], [], []
    with progress(console) as bar, torch.inference_mode():
        for number, example in enumerate(bar.track(some, description="candidates")):
            query = retrieval.encode(example.query)
            found = retrieval.candidates(query)
            arrays = ranker_inputs(query, found).values()
            features.append(ranker.features(*map(torch.from_numpy, arrays))[0])
            known.append(torch.from_numpy(found.rows >= 0))
            gain = dict(zip(example.rows, example.gains, strict=True))
            gains.append(torch.tensor([gain.get(int(row), 0.0) for row in found.rows]))
            ideal.append(np.array(example.gains))
            opinions.append(
                _opinion(query, found, teacher) if number < taught else torch.full((len(found.rows),), torch.nan)
            )
    return Lists(*(torch.stack(part) for part in (features, known, gains)), ideal, torch.stack(opinions))


def _opinion(query: EncodedQuery, found: Candidates, teacher: Teacher) -> Tensor:
    opinion = np.full(len(found.rows), np.nan, np.float32)
    rows = found.rows[:SHORTLIST][found.rows[:SHORTLIST] >= 0]
    if len(rows):
        opinion[: len(rows)] = teacher.score(query, rows)
    return torch.from_numpy(opinion)


def listwise(scores: Tensor, gains: Tensor) -> Tensor:
    """ListNet's loss over the queries that have a right answer among their candidates."""
    some = gains.sum(1) > 0
    goal = gains[some] / gains[some].sum(1, keepdim=True)
    return -(goal * scores[some].log_softmax(1)).sum(1).mean()


def mean_ndcg(ranker: Ranker, lists: Lists) -> float:
    """Mean nDCG@10 over the queries, against the ideal of all their judgments."""
    with torch.inference_mode():
        scores = ranker.score(lists.features).masked_fill(~lists.known, -1e4)
    return float(np.mean([_ndcg(*one) for one in zip(scores.numpy(), lists.gains.numpy(), lists.ideal, strict=True)]))


def _ndcg(scores: np.ndarray, gains: np.ndarray, judged: np.ndarray) -> float:
    """nDCG@10 of candidates whose ideal comes from all judged products."""
    discount = 1 / np.log2(np.arange(10) + 2)
    ideal = np.sort(judged)[::-1][:10]
    found = gains[np.argsort(-scores, kind="stable")[:10]]
    return float(found @ discount / (ideal @ discount[: len(ideal)]))


def choose_blend(ranker: Ranker, dev: Lists, console: Console) -> float:
    """The weight of the cross-encoder's logits that serves dev best."""
    with torch.inference_mode():
        scores = ranker.score(dev.features).masked_fill(~dev.known, -1e4)
    figures = {}
    for weight in BLENDS:
        blended = scores + weight * dev.teacher.nan_to_num(-10.0)
        parts = zip(blended.numpy(), dev.gains.numpy(), dev.ideal, strict=True)
        figures[weight] = float(np.mean([_ndcg(*part) for part in parts]))
    weight = max(figures, key=lambda one: figures[one])
    console.print(f"  weight of the cross-encoder: {weight} (dev nDCG@10 {figures[weight]:.3f})")
    return weight
