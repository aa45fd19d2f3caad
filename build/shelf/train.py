"""Training of the user encoder and the product vectors: from each basket's history, the products of that basket.

Two softmaxes are learned at once, over all products and over those not bought before, as both are shelves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from build.settings import ShelfSettings, Training
from build.shelf.network import Products, Shape, UserEncoder
from build.shelf.split import Case
from build.training.loop import fit
from shelfbridge.contract import SHELF_EVENTS
from shelfbridge.shelf.history import DAY, History


@dataclass(frozen=True)
class Settings:
    """Of one training run."""

    shape: Shape = field(default_factory=Shape)
    training: Training = ShelfSettings.training
    refresh: int = ShelfSettings.refresh
    """Epochs, at half the rate, when later baskets are added to what was learned."""
    head_epochs: int = ShelfSettings.head_epochs
    """Of the ranker's training."""
    baskets: int = ShelfSettings.baskets
    """Most that an epoch learns from, the latest."""
    dropped: float = 0.3
    """Share of products that have only their text in a step."""
    forgotten: float = 0.2
    """Share of a history's events left out in a step."""
    half_life: float = 60
    """Days after which a basket teaches half as much as one at the end."""


class Users(nn.Module):
    """The user encoder and the product vectors, which learn together."""

    def __init__(self, texts: NDArray[np.float32], settings: Settings) -> None:
        super().__init__()
        self.products = Products(torch.from_numpy(texts), settings.shape.width, settings.dropped)
        self.encoder = UserEncoder(settings.shape)

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Scores of all products [B, N], of numbers, ages, kinds and mask as `inputs_of` gives them."""
        vectors = self.products()
        items, *others = inputs
        scores: Tensor = self.encoder(vectors[items], *others) @ vectors.T
        return scores


@dataclass(frozen=True, eq=False)
class Trained:
    """What was learned, as it is served: a graph of the encoder, and a vector for each product."""

    model: Users
    items: NDArray[np.float32]
    """Vectors of the products [N, W]."""

    def vectors(self, histories: Sequence[History]) -> NDArray[np.float32]:
        """Of users [B, W]."""
        found = []
        table = torch.from_numpy(self.items)
        with torch.inference_mode():
            for start in range(0, len(histories), 256):
                items, *others = inputs_of(histories[start : start + 256])
                found.append(self.model.encoder(table[items], *others).numpy())
        return np.concatenate(found)

    def score(self, history: History) -> NDArray[np.float32]:
        """Of all products, float32 [N]."""
        scores: NDArray[np.float32] = self.items @ self.vectors([history])[0]
        return scores


def train(
    texts: NDArray[np.float32],
    cases: Sequence[Case],
    settings: Settings,
    *,
    folder: Path,
    console: Console,
    validate: Callable[[Trained], float] | None = None,
    unseen: NDArray[np.bool_] | None = None,
    start: Trained | None = None,
) -> Trained:
    """Train on cases that have a history and something bought; others teach nothing.

    Args:
        texts: unit vectors of the products' texts [N, D].
        cases: all before the moment from which the result is used.
        settings: how.
        folder: for TensorBoard's files.
        console: for the progress.
        validate: a figure to maximise; without it all epochs are run and the last weights are kept.
        unseen: products [N] that training does not know of; their vectors come from their texts.
        start: what was learned from earlier cases, to go on from.
    """
    torch.manual_seed(settings.training.seed)
    model, training = Users(texts, settings), settings.training
    if start is not None:
        model.load_state_dict(start.model.state_dict())
        training = replace(training, epochs=settings.refresh, learning_rate=training.learning_rate / 2)
    unseen = np.zeros(len(texts), bool) if unseen is None else unseen
    used = _without(cases, unseen)[-settings.baskets :]
    end = max(case.history.now for case in used)
    closed = torch.from_numpy(unseen)

    def epoch(number: int) -> list[list[Case]]:
        order = np.random.default_rng([settings.training.seed, number]).permutation(len(used))
        size = settings.training.batch
        return [[used[at] for at in order[start : start + size]] for start in range(0, len(order), size)]

    def loss(batch: list[Case]) -> Tensor:
        inputs = inputs_of([case.history for case in batch], forgotten=settings.forgotten)
        scores = model(inputs).masked_fill(closed, -1e4)
        ages = torch.tensor([(end - case.history.now) / DAY for case in batch])
        weights = 0.5 ** (ages / settings.half_life)
        wanted, owned = torch.zeros_like(scores), torch.zeros_like(scores, dtype=torch.bool)
        for row, case in enumerate(batch):
            wanted[row, case.bought], owned[row, case.history.items] = 1, True
        new = scores.masked_fill(owned, -1e4), wanted.masked_fill(owned, 0)
        return _surprise(scores, wanted, weights) + _surprise(*new, weights)

    figure = None if validate is None else lambda: validate(_trained(model, unseen))
    fit(model, epoch, loss, figure, training=training, folder=folder, console=console, cpu=True)
    return _trained(model, unseen)


def inputs_of(histories: Sequence[History], forgotten: float = 0.0) -> tuple[Tensor, ...]:
    """Numbers of the products, ages, kinds and mask [B, L] of the latest events, the latest last.

    Args:
        forgotten: share of the events left out at random; so is then which of a basket remain where not all fit.
    """
    cut = [_some(history, forgotten) if forgotten else history.latest(SHELF_EVENTS) for history in histories]
    length = max(1, *map(len, cut)) if cut else 1
    items, kinds, mask = (np.zeros((len(cut), length), np.int64) for _ in range(3))
    ages = np.zeros((len(cut), length), np.float32)
    for row, one in enumerate(cut):
        if size := len(one):
            items[row, -size:], kinds[row, -size:], mask[row, -size:] = one.items, one.kinds, 1
            ages[row, -size:] = one.ages
    return tuple(map(torch.from_numpy, (items, ages, kinds, mask)))


def _some(history: History, forgotten: float) -> History:
    near = history.latest(4 * SHELF_EVENTS)
    chance = torch.rand(len(near)).numpy()
    kept = np.flatnonzero(chance >= forgotten) if (chance >= forgotten).any() else np.arange(len(near))
    kept = kept[np.lexsort((chance[kept], near.times[kept]))][-SHELF_EVENTS:]
    return History(near.now, near.items[kept], near.times[kept], near.kinds[kept])


def _surprise(scores: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Mean negative log of the softmax of scores [B, N] at what is wanted, 1 or 0 [B, N], weighted by case [B]."""
    shares = wanted / wanted.sum(1, keepdim=True).clamp(min=1)
    mean: Tensor = -((scores.log_softmax(1) * shares).sum(1) * weights).sum() / weights.sum()
    return mean


def _without(cases: Sequence[Case], unseen: NDArray[np.bool_]) -> list[Case]:
    cut = (Case(case.user, case.history.without(unseen), case.bought[~unseen[case.bought]]) for case in cases)
    return [case for case in cut if len(case.history) and len(case.bought)]


def _trained(model: Users, unseen: NDArray[np.bool_]) -> Trained:
    model.eval()
    with torch.no_grad():
        told = model.products.of_texts(model.products.texts)
        vectors = torch.where(torch.from_numpy(unseen)[:, None], told, model.products())
    return Trained(model, vectors.numpy())
