"""The whole shelf, learned again and again as time goes on."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from build.shelf.interactions import Interactions
from build.shelf.network import Head
from build.shelf.ranker import Candidates, Knowledge, Lists, popularities, ranked, train_head
from build.shelf.split import Case, cases
from build.shelf.train import Settings, train
from shelfbridge.shelf.history import History


@dataclass(frozen=True, eq=False)
class Shelf:
    """What recommends from a moment on, learned from what came before it."""

    knowledge: Knowledge
    head: Head
    lessons: Sequence[Lists]
    """What the head learned from."""

    def candidates(self, histories: Sequence[History], console: Console) -> list[Candidates]:
        """Of each, with their signals."""
        return self.knowledge.lists(histories, console)

    def tastes(self, history: History, vector: NDArray[np.float32], rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """The head's scores [C] of products for a shopper, whose vector is [W]."""
        table = self.knowledge.signals(history, vector, rows)
        with torch.inference_mode():
            scores: NDArray[np.float32] = self.head(torch.from_numpy(table)[None])[0].numpy()
        return scores

    def scores(self, found: Sequence[Candidates]) -> list[NDArray[np.float32]]:
        """Of all products [N] by list; -inf where a product is no candidate."""
        return ranked(self.head, found, len(self.knowledge.products.vectors))


def shelves(
    interactions: Interactions,
    texts: NDArray[np.float32],
    cuts: Sequence[int],
    settings: Settings,
    console: Console,
    *,
    prices: Callable[[int], NDArray[np.float32]],
    unseen: NDArray[np.bool_] | None = None,
) -> Iterator[Shelf]:
    """The shelf at each moment but the first, in their order.

    The encoder is trained at the first and goes on from itself at the others; the head learns from the windows between
    them, each with the signals of what was known where it begins.

    Args:
        interactions: all; what is later than a moment is not used at it.
        texts: unit vectors of the products' texts [N, D].
        cuts: two moments or more.
        settings: of the encoder.
        console: for the progress.
        prices: of the products at a moment [N], NaN where not known.
        unseen: products [N] that no interaction is with; their vectors come from their texts.
    """
    users, lessons, counts = None, list[Lists](), popularities(interactions)
    with tempfile.TemporaryDirectory() as folder:
        for cut, following in zip(cuts, [*cuts[1:], None], strict=True):
            known = cases(interactions, 0, cut)
            users = train(texts, known, settings, folder=Path(folder), console=console, start=users, unseen=unseen)
            knowledge = Knowledge.fit(users, texts, interactions.before(cut), counts, prices(cut))
            if lessons:
                yield Shelf(knowledge, train_head(lessons, settings.head_epochs), tuple(lessons))
            if following is not None:
                next_cases = with_history(cases(interactions, cut, following))
                lists = knowledge.lists([case.history for case in next_cases], console)
                lessons.append(Lists.of(next_cases, lists))


def with_history(some: Sequence[Case]) -> list[Case]:
    """The cases of shoppers who are known."""
    return [case for case in some if len(case.history)]
