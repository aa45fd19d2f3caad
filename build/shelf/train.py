"""Training of the user encoder and the product vectors: from each basket's history, the products of that basket.

Two softmaxes are learned at once, over all products and over those not bought before, as both are shelves.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from build.settings import ShelfSettings
from build.shelf.network import Products, UserEncoder
from build.shelf.split import Case
from build.training.loop import fit
from shelfbridge.contract import SHELF_EVENTS
from shelfbridge.shelf.history import DAY, History

FORGOTTEN = 0.2
"""Share of a history's events left out in a step."""
HALF_LIFE = 60
"""Days after which a basket teaches half as much as one at the end."""


class Users(nn.Module):
    """The user encoder and the product vectors, which learn together."""

    items: NDArray[np.float32]
    """Vectors of the products as they are served [N, W]; `train` sets them in the end."""

    def __init__(self, texts: NDArray[np.float32]) -> None:
        super().__init__()
        self.products = Products(torch.from_numpy(texts))
        self.encoder = UserEncoder()

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Scores of all products [B, N], of numbers, ages, kinds and mask as `inputs_of` gives them."""
        vectors = self.products()
        items, *others = inputs
        scores: Tensor = self.encoder(vectors[items], *others) @ vectors.T
        return scores

    def vectors(self, histories: Sequence[History]) -> NDArray[np.float32]:
        """Of users who have learned all [B, W]."""
        found = []
        table = torch.from_numpy(self.items)
        with torch.inference_mode():
            for start in range(0, len(histories), 256):
                items, *others = inputs_of(histories[start : start + 256])
                found.append(self.encoder(table[items], *others).numpy())
        return np.concatenate(found)


def train(
    texts: NDArray[np.float32],
    cases: Sequence[Case],
    settings: ShelfSettings,
    *,
    console: Console,
    unseen: NDArray[np.bool_] | None = None,
    start: Users | None = None,
) -> Users:
    """Train on cases that have a history and something bought; others teach nothing.

    Args:
        texts: unit vectors of the products' texts [N, D].
        unseen: products [N] that training does not know of; their vectors come from their texts.
        start: what was learned from earlier cases, to go on from.
    """
    torch.manual_seed(settings.training.seed)
    model, training = Users(texts), settings.training
    if start is not None:
        model.load_state_dict(start.state_dict())
        training = replace(training, epochs=settings.refresh, learning_rate=training.learning_rate / 2)
    unseen = np.zeros(len(texts), bool) if unseen is None else unseen
    known = (case.without(unseen) for case in cases)
    used = [case for case in known if len(case.history) and len(case.bought)][-settings.baskets :]
    end = max(case.history.now for case in used)
    closed = torch.from_numpy(unseen)

    def epoch(number: int) -> list[list[Case]]:
        order = np.random.default_rng([training.seed, number]).permutation(len(used))
        return [
            [used[at] for at in order[begin : begin + training.batch]] for begin in range(0, len(order), training.batch)
        ]

    def loss(batch: list[Case]) -> Tensor:
        scores = model(inputs_of([case.history for case in batch], forgotten=FORGOTTEN)).masked_fill(closed, -1e4)
        ages = torch.tensor([(end - case.history.now) / DAY for case in batch])
        weights = 0.5 ** (ages / HALF_LIFE)
        wanted, owned = torch.zeros_like(scores), torch.zeros_like(scores, dtype=torch.bool)
        for row, case in enumerate(batch):
            wanted[row, case.bought], owned[row, case.history.items] = 1, True
        new = scores.masked_fill(owned, -1e4), wanted.masked_fill(owned, 0)
        return _surprise(scores, wanted, weights) + _surprise(*new, weights)

    with tempfile.TemporaryDirectory() as folder:
        fit(model, epoch, loss, None, training=training, folder=Path(folder), console=console)
    model.eval()
    with torch.no_grad():
        told = model.products.of_texts(model.products.texts)
        model.items = torch.where(closed[:, None], told, model.products()).numpy()
    return model


def inputs_of(histories: Sequence[History], forgotten: float = 0.0) -> tuple[Tensor, ...]:
    """Numbers of the products, ages, kinds and mask [B, L] of the latest events, the latest last.

    A share of the events may be left out at random; so is then which of a basket remain where not all fit.
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
