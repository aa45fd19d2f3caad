"""The ranker of a shelf: candidates and their signals through a small head, trained list by list.

It learns from baskets that came after all that its signals were fitted to, as it will be used.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from build.progress import progress
from build.shelf.baselines import ease, sold, together
from build.shelf.interactions import Interactions
from build.shelf.network import Head
from build.shelf.popularity import Popularity
from build.shelf.split import Case
from build.shelf.train import Trained
from shelfbridge.contract import SHELF_SIGNALS
from shelfbridge.errors import DataError
from shelfbridge.shelf.history import History, Shopper
from shelfbridge.shelf.signals import LATELY, LONG, Demand, Neighbours, Products, candidates, signals

PENALTY = 200.0
"""Of `ease`, chosen on the validation of Online Retail."""
NEIGHBOURS = 200
BATCH, RATE = 32, 2e-3
CONSTANT = 1e-3
"""Standard deviation of a signal below which the lists teach nothing of it. The head does not look at it: what it had
learned would be chance, and what is served may differ, as the price does where training knew none."""

Candidates = tuple[NDArray[np.int32], NDArray[np.float32]]
"""Products [C], and their signals [C, S]."""


@dataclass(frozen=True, eq=False)
class Knowledge:
    """All that candidates and signals are made from, fitted to what came before a moment."""

    users: Trained
    products: Products
    popularities: tuple[Popularity, Popularity]

    @classmethod
    def fit(
        cls,
        users: Trained,
        texts: NDArray[np.float32],
        past: Interactions,
        popularities: tuple[Popularity, Popularity],
        prices: NDArray[np.float32],
    ) -> "Knowledge":
        """Fit.

        Args:
            users: trained on the same past.
            texts: unit vectors of the products' texts [N, D].
            past: interactions.
            popularities: of `LATELY` and `LONG`; they may know more than the past, as they are asked by moment.
            prices: as the shelf that is served reads them, NaN where not known [N].
        """
        products = Products(
            users.items,
            texts,
            prices,
            neighbours(past, lambda some: ease(some, PENALTY)),
            neighbours(past, lambda some: together(some, "basket")),
        )
        return cls(users, products, popularities)

    def lists(self, histories: Sequence[History], console: Console) -> list[Candidates]:
        """Candidates [C] and their signals [C, S] of each."""
        vectors, found = self.users.vectors(histories), []
        with progress(console) as bar:
            for history, vector in bar.track(list(zip(histories, vectors, strict=True)), description="candidates"):
                rows = candidates(Shopper.of(history), vector, self.products, self.demand(history.now))
                found.append((rows, self.signals(history, vector, rows)))
        return found

    def demand(self, now: int) -> Demand:
        """Return what sells at a moment."""
        return Demand(*(one.at(now) for one in self.popularities))

    def signals(self, history: History, vector: NDArray[np.float32], rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return what the head is told of products: [C, S], for a shopper whose vector is [W]."""
        return signals(Shopper.of(history), vector, rows, self.products, self.demand(history.now))


def neighbours(past: Interactions, weigh: Callable[[Interactions], NDArray[np.float32]]) -> Neighbours:
    """What the products of interactions lead to; nothing is known of others.

    Args:
        past: interactions.
        weigh: weights [S, S] of the products that are in interactions, numbered anew.
    """
    numbers, some = sold(past)
    near = Neighbours.of(weigh(some), NEIGHBOURS)
    places = np.full(len(past.items), -1, np.int32)
    places[numbers] = np.arange(len(numbers))
    return Neighbours(numbers[near.items].astype(np.int32), near.weights, places)


def popularities(interactions: Interactions) -> tuple[Popularity, Popularity]:
    """Those that signals are made from."""
    return Popularity(interactions, LATELY), Popularity(interactions, LONG)


def paid(past: Interactions) -> NDArray[np.float32]:
    """Median price of each product as it was sold, NaN where that is not known; float32 [N].

    It stands in for the catalogue's where interactions are evaluated without one.
    """
    order = np.lexsort((past.price, past.item))
    known = order[~np.isnan(past.price[order])]
    items, start, count = np.unique(past.item[known], return_index=True, return_counts=True)
    found = np.full(len(past.items), np.nan, np.float32)
    found[items] = past.price[known][start + count // 2]
    return found


@dataclass(frozen=True, eq=False)
class Lists:
    """What the head learns from: R lists, padded to C."""

    signals: Tensor
    """[R, C, S]."""
    wanted: Tensor
    """Whether it was bought next [R, C]."""
    there: Tensor
    """Whether there is a candidate [R, C]."""

    @classmethod
    def of(cls, cases: Sequence[Case], lists: Sequence[Candidates]) -> "Lists":
        """Of cases and their candidates; lists in which nothing was bought teach nothing and are left out.

        Raises:
            DataError: no list is left.
        """
        hits = [np.isin(rows, case.bought) for case, (rows, _) in zip(cases, lists, strict=True)]
        kept = [place for place, hit in enumerate(hits) if hit.any()]
        if not kept:
            raise DataError(
                f"none of the {len(cases)} baskets of a window holds a product that was a candidate; "
                "give longer windows (--weeks) or more interactions"
            )
        longest = max(len(hits[place]) for place in kept)
        table = torch.zeros(len(kept), longest, len(SHELF_SIGNALS))
        wanted, there = (torch.zeros(len(kept), longest, dtype=torch.bool) for _ in range(2))
        for row, place in enumerate(kept):
            size = len(hits[place])
            table[row, :size] = torch.from_numpy(lists[place][1])
            wanted[row, :size] = torch.from_numpy(hits[place])
            there[row, :size] = True
        return cls(table, wanted, there)


def train_head(lists: Sequence[Lists], epochs: int, seed: int = 7) -> Head:
    """Learn by softmax over a list (Cao et al., ICML 2007): all candidates, and those not bought before alone.

    Args:
        lists: of one window each.
        epochs: over all of them.
        seed: of the weights and the order.
    """
    torch.manual_seed(seed)
    head = Head(len(SHELF_SIGNALS))
    known = torch.cat([one.signals[one.there] for one in lists])
    head.mean.copy_(known.mean(0))
    spread = known.std(0)
    constant = spread < CONSTANT
    head.scale.copy_(spread.masked_fill(constant, 1.0))
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=0.01)
    steps = epochs * sum(-(-len(one.signals) // BATCH) for one in lists)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    head.train()
    for _ in range(epochs):
        batches = [(one, rows) for one in lists for rows in torch.randperm(len(one.signals)).split(BATCH)]
        for place in torch.randperm(len(batches)).tolist():
            one, rows = batches[place]
            fresh = one.there[rows] & (one.signals[rows][..., SHELF_SIGNALS.index("owned")] == 0)
            scores = head(one.signals[rows])
            loss = _loss(scores, one.wanted[rows], one.there[rows]) + _loss(scores, one.wanted[rows], fresh)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    head.ignore(constant)
    return head.eval()


def _loss(scores: Tensor, wanted: Tensor, allowed: Tensor) -> Tensor:
    wanted = wanted & allowed
    kept = wanted.any(1)
    if not kept.any():
        return scores.sum() * 0
    logs = scores.masked_fill(~allowed, -1e4).log_softmax(1)[kept]
    share = wanted[kept] / wanted[kept].sum(1, keepdim=True)
    return -(logs * share).sum(1).mean()


def ranked(head: Head, lists: Sequence[Candidates], products: int) -> list[NDArray[np.float32]]:
    """Scores of all products [N] by list; -inf where a product is no candidate."""
    found = []
    with torch.inference_mode():
        for rows, table in lists:
            scores = np.full(products, -np.inf, np.float32)
            scores[rows] = head(torch.from_numpy(table)[None])[0].numpy()
            found.append(scores)
    return found
