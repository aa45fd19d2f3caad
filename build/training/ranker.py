"""Train the ranker's head on graded judgments, with the cross-encoder as a teacher, and weigh the cross-encoder itself.

Both choices start from an order that is there without them: the head from the fusion's (`build.training.heads`), the
cross-encoder's weight in `search_deep` from zero, which is the ranker's order. Dev says how far each may leave it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from build.data import examples
from build.data.examples import Example
from build.evaluation.offline import EncodedQuery, Retrieval, ranker_inputs
from build.progress import progress
from build.settings import Settings
from build.training.heads import DEFAULT, POINTS, Choice, Head, choose, fit_head, point
from build.training.models import Blend, CrossEncoder, Ranker
from build.training.trees import fit_trees
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.contract import SHORTLIST
from shelfbridge.measure.ranking import ndcg
from shelfbridge.retrieval import ProductPairs

TEACHER_WEIGHTS = (0.0, 0.3, 1.0)
"""How much the teacher's pairs are tried to count beside the judged ones."""
STRENGTHS = (1, 10, 100, 1000)
"""Multiples of the settings' decay that are tried: how firmly the head is held to the fusion's order."""
TREES = (20, 60)
"""How many trees are tried over the best linear head."""
LEAST_QUERIES = 50
"""Of train without which trees are not tried: of 15 they learned noise that eight dev queries did not see through."""
CHOICE = "choice.json"
"""File that says what was chosen, and between what."""
BLENDS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Weights tried for the cross-encoder's logits beside the ranker's scores."""


@dataclass(frozen=True)
class Lists:
    """The candidates of some queries.

    features: [Q, C, W]; rows: [Q, C], -1 where padded; gains: [Q, C], NaN where not judged; judged:
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
    """Fit heads on the train split, choose on dev, and write the head and `choice.json`.

    Args:
        folder: to write to.
        tokenizer: folder of `tokenizer.json`.
        graph: folder of the `model.onnx` that encodes queries where the head is served.
        index: folder of the index.
        pieces: folder of the products' word pieces.
        cross_encoder: folder of the teacher.
        catalogue: all products.
        judgments: train is fitted to, dev chooses.
        settings: of the build.
        console: for the progress and the outcome.
    """
    chosen = settings.ranker
    retrieval = Retrieval.open(tokenizer, graph, index)
    ranker = Ranker(float(np.load(index / "scale.npy"))).requires_grad_(False)
    dev = gather(examples.judged(catalogue, judgments.of("dev")), retrieval, ranker, console)
    lists = gather(examples.judged(catalogue, judgments.of("train")), retrieval, ranker, console)
    teacher = Teacher(CrossEncoder.load(cross_encoder), ProductPairs.open(pieces))
    in_order = torch.arange(lists.rows.shape[1]).expand(lists.rows.shape)
    asked = examples.drawn(range(len(lists.rows)), chosen.teacher_queries, seed=1)
    heads = learned(lists, teacher.opinions(lists, in_order, asked, console), chosen.decay)
    _choose(folder, heads | forests(heads, lists, dev), ranker, dev, console)


def plain(
    folder: Path,
    *,
    tokenizer: Path,
    graph: Path,
    index: Path,
    catalogue: Catalogue,
    judgments: Judgments,
    console: Console,
) -> None:
    """Choose on dev among the orders that need no judgments; arguments and what is written are those of `train`."""
    retrieval = Retrieval.open(tokenizer, graph, index)
    ranker = Ranker(float(np.load(index / "scale.npy"))).requires_grad_(False)
    dev = gather(examples.judged(catalogue, judgments.of("dev")), retrieval, ranker, console)
    _choose(folder, {}, ranker, dev, console)


def _choose(folder: Path, heads: Mapping[str, Head], ranker: Ranker, dev: Lists, console: Console) -> None:
    heads = {**{name: point(name) for name in POINTS}, **heads}
    choice = choose_head(heads, dev)
    heads[choice.name].put_on(ranker, dev.features[dev.rows >= 0])
    ranker.save(folder)
    write_choice(folder, choice, "the ranker's head", DEFAULT, console)


def choose_head(heads: Mapping[str, Head], dev: Lists) -> Choice:
    """Choose a head on dev; the default is the fusion's order."""
    return choose({name: ndcgs(head.scores(dev.features), dev) for name, head in heads.items()}, DEFAULT)


def forests(heads: Mapping[str, Head], lists: Lists, dev: Lists) -> dict[str, Head]:
    """Trees over the linear head of most nDCG@10 on dev, by name: one head per number of trees; of few queries none."""
    if len(lists.rows) < LEAST_QUERIES:
        return {}
    name = max(heads, key=lambda one: ndcgs(heads[one].scores(dev.features), dev).mean())
    known = {"rows": lists.rows, "gains": lists.gains, "start": heads[name].scores(lists.features)}
    return {
        f"{trees} trees over {name}": Head(heads[name].weight, fit_trees(lists.features, **known, trees=trees))
        for trees in TREES
    }


def learned(lists: Lists, opinions: Tensor, decay: float) -> dict[str, Head]:
    """Linear heads fitted to judgments, by name: one per weight of the teacher's opinions and strength of the hold."""
    return {
        f"linear, teacher {weight:g}, decay {decay * strength:g}": Head(
            fit_head(
                lists.features,
                rows=lists.rows,
                gains=lists.gains,
                opinions=opinions,
                teacher=weight,
                decay=decay * strength,
            )
        )
        for weight in TEACHER_WEIGHTS
        for strength in STRENGTHS
    }


def write_choice(folder: Path, choice: Choice, what: str, default: str, console: Console) -> None:
    """Write `choice.json`, and say what was chosen and whether the queries can tell."""
    (folder / CHOICE).write_text(json.dumps({"default": default, **asdict(choice)}, indent=2) + "\n")
    figures = f"dev nDCG@10 {choice.ndcg[choice.name]:.3f}, {default} {choice.ndcg[default]:.3f}"
    verdict = "" if choice.told else f"; {choice.queries} dev queries cannot tell that anything is better"
    console.print(f"  {what}: {choice.name} ({figures}{verdict})", highlight=False, soft_wrap=True)


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
    """Choose on dev how much the cross-encoder's logits count in `search_deep`; write `blend.npy` and `choice.json`.

    Args:
        graph: folder of the `model.onnx` that encodes queries where this is served.
        ranker: folder of the head that is served before it.
        queries: of dev at most, drawn by chance.
    """
    retrieval = Retrieval.open(tokenizer, graph, index)
    head = Ranker.load(ranker).requires_grad_(False)
    reader = Teacher(CrossEncoder.load(cross_encoder), ProductPairs.open(pieces))
    some = examples.drawn(examples.judged(catalogue, judgments.of("dev")), queries, seed=2)
    dev = gather(some, retrieval, head, console)
    choice = choose_blend(head.score(dev.features), dev, reader, console)
    write_choice(folder, choice, "weight of the cross-encoder in search_deep", "0", console)
    np.save(folder / "blend.npy", np.float32(choice.name))


def weight_of(folder: Path) -> float:
    """Return the weight that `write_blend` chose."""
    return float(np.load(folder / "blend.npy"))


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


@dataclass(frozen=True)
class Teacher:
    """The cross-encoder, as it reads a query beside the stored word pieces of products."""

    model: CrossEncoder
    products: ProductPairs

    def opinions(self, lists: Lists, order: Tensor, queries: Sequence[int], console: Console) -> Tensor:
        """Logits [Q, C] of the first `SHORTLIST` candidates of some queries in an order [Q, C], NaN for the others."""
        logits = torch.full(lists.rows.shape, torch.nan)
        with progress(console) as bar, torch.inference_mode():
            for place in bar.track(queries, description="asking the teacher"):
                first = order[place, :SHORTLIST]
                first = first[lists.rows[place, first] >= 0]
                if len(first):
                    query = lists.queries[place]
                    ids, types, mask = self.products.pair(query.pieces, lists.rows[place, first].numpy())
                    logits[place, first] = self.model(*map(torch.from_numpy, (ids, mask, types)))
        return logits


def ndcgs(scores: Tensor, lists: Lists) -> NDArray[Any]:
    """nDCG@10 of scores [Q, C] by query, float64 [Q], against the ideal of all judgments."""
    ranked = scores.masked_fill(lists.rows < 0, -torch.inf).numpy()
    return np.array([ndcg(*one) for one in zip(ranked, lists.gains.nan_to_num().numpy(), lists.judged, strict=True)])


def choose_blend(scores: Tensor, dev: Lists, teacher: Teacher, console: Console) -> Choice:
    """Choose the weight of the cross-encoder's logits beside the ranker's scores [Q, C]; the default is 0."""
    order = scores.masked_fill(dev.rows < 0, -torch.inf).argsort(dim=1, descending=True, stable=True)
    logits = teacher.opinions(dev, order, range(len(dev.queries)), console)
    figures = {f"{weight:g}": ndcgs(_blended(scores, logits, order, weight), dev) for weight in BLENDS}
    return choose(figures, "0")


def _blended(scores: Tensor, logits: Tensor, order: Tensor, weight: float) -> Tensor:
    """As `models.Blend`: the first of the order, moved by the logits, stay ahead of the others."""
    ranked = scores.gather(1, order)
    best = ranked[:, :SHORTLIST] + weight * logits.gather(1, order[:, :SHORTLIST]).nan_to_num()
    rest = ranked[:, SHORTLIST:]
    behind = (best.amin(1, keepdim=True) - rest.amax(1, keepdim=True) - Blend.MARGIN).clamp(max=0.0)
    return scores.scatter(1, order, torch.cat([best, rest + behind], dim=1))
