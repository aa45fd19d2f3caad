"""The ranker of a shelf: candidates and their signals through a small head, trained list by list.

It learns from baskets that came after all that its signals were fitted to, as it will be used: so a shelf is learned
again and again as time goes on.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from build.progress import progress
from build.settings import ShelfSettings
from build.shelf.baselines import Popularity, ease, sold, together
from build.shelf.interactions import Interactions
from build.shelf.network import Head
from build.shelf.split import Case, cases, with_history
from build.shelf.train import Users, train
from shelfbridge.contract import SHELF_SIGNALS
from shelfbridge.errors import DataError
from shelfbridge.shelf.history import History, Shopper
from shelfbridge.shelf.signals import LATELY, LONG, Demand, Neighbours, Products, candidates, signals

PENALTY = 200.0
"""Of `ease`, chosen on the validation of Online Retail."""
NEIGHBOURS = 200
BATCH, RATE, SEED = 32, 2e-3, 7
CONSTANT = 1e-3
"""Standard deviation of a signal below which the lists teach nothing of it. The head does not look at it: what it had
learned would be chance, and what is served may differ, as the price does where training knew none."""

Candidates = tuple[NDArray[np.int32], NDArray[np.float32]]
"""Products [C], and their signals [C, S]."""
Scores = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Knowledge:
    """All that candidates and signals are made from, fitted to what came before a moment."""

    users: Users
    products: Products
    popularities: Sequence[Popularity]
    """Of `LATELY` and `LONG`; they know more than the past, as they are asked by moment."""

    @classmethod
    def fit(
        cls,
        users: Users,
        texts: NDArray[np.float32],
        interactions: Interactions,
        cut: int,
        prices: NDArray[np.float32],
    ) -> "Knowledge":
        """Fit to what came before a moment, which users were trained on.

        Texts are unit vectors [N, D], and prices [N] as the shelf that is served reads them, NaN where not known.
        """
        past = interactions.before(cut)
        associated = neighbours(past, lambda some: ease(some, PENALTY))
        companions = neighbours(past, lambda some: together(some, "basket"))
        popularities = [Popularity(interactions, half_life) for half_life in (LATELY, LONG)]
        return cls(users, Products(users.items, texts, prices, associated, companions), popularities)

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
    """What the products of interactions lead to, by weights [S, S] of these, numbered anew; others lead nowhere."""
    numbers, places, some = sold(past)
    near = Neighbours.of(weigh(some), NEIGHBOURS)
    return Neighbours(numbers[near.items].astype(np.int32), near.weights, places)


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
    def of(cls, some: Sequence[Case], lists: Sequence[Candidates]) -> "Lists":
        """Of cases and their candidates; lists in which nothing was bought teach nothing and are left out.

        Raises:
            DataError: no list is left.
        """
        hits = [np.isin(rows, case.bought) for case, (rows, _) in zip(some, lists, strict=True)]
        kept = [place for place, hit in enumerate(hits) if hit.any()]
        if not kept:
            raise DataError(
                f"none of the {len(some)} baskets of a window holds a product that was a candidate; "
                "give longer windows (--weeks) or more interactions"
            )
        wanted = [torch.from_numpy(hits[place]) for place in kept]
        columns = ([torch.from_numpy(lists[place][1]) for place in kept], wanted, map(torch.ones_like, wanted))
        return cls(*(pad_sequence(list(column), batch_first=True) for column in columns))


def train_head(lists: Sequence[Lists], epochs: int) -> Head:
    """Learn by softmax over a list (Cao et al., ICML 2007): all candidates, and those not bought before alone."""
    torch.manual_seed(SEED)
    head = Head()
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


def scores_of(head: Head, table: NDArray[np.float32]) -> Scores:
    """Scores [C] of products by their signals [C, S]."""
    with torch.inference_mode():
        scores: Scores = head(torch.from_numpy(table)[None])[0].numpy()
    return scores


def ranked(head: Head, lists: Sequence[Candidates], products: int) -> list[Scores]:
    """Scores of all products [N] by list; -inf where a product is no candidate."""
    found = []
    for rows, table in lists:
        scores = np.full(products, -np.inf, np.float32)
        scores[rows] = scores_of(head, table)
        found.append(scores)
    return found


@dataclass(frozen=True, eq=False)
class Shelf:
    """What recommends from a moment on, learned from what came before it."""

    knowledge: Knowledge
    head: Head
    lessons: Sequence[Lists]
    """What the head learned from."""

    def tastes(self, history: History, vector: NDArray[np.float32], rows: NDArray[np.int32]) -> Scores:
        """The head's scores [C] of products for a shopper, whose vector is [W]."""
        return scores_of(self.head, self.knowledge.signals(history, vector, rows))

    def scores(self, histories: Sequence[History], console: Console) -> list[Scores]:
        """Of all products [N] by history; -inf where a product is no candidate."""
        return ranked(self.head, self.knowledge.lists(histories, console), len(self.knowledge.products.prices))


def shelves(
    interactions: Interactions,
    texts: NDArray[np.float32],
    cuts: Sequence[int],
    settings: ShelfSettings,
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
        prices: of the products at a moment [N], NaN where not known.
        unseen: products [N] that no interaction is with; their vectors come from their texts.
    """
    users, lessons = None, list[Lists]()
    for cut, following in zip(cuts, [*cuts[1:], None], strict=True):
        known = cases(interactions, 0, cut)
        users = train(texts, known, settings, console=console, start=users, unseen=unseen)
        knowledge = Knowledge.fit(users, texts, interactions, cut, prices(cut))
        if lessons:
            yield Shelf(knowledge, train_head(lessons, settings.head_epochs), tuple(lessons))
        if following is not None:
            next_cases = with_history(cases(interactions, cut, following))
            lists = knowledge.lists([case.history for case in next_cases], console)
            lessons.append(Lists.of(next_cases, lists))
