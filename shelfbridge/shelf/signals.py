"""A shelf's candidates, and what the ranker is told of each, at a moment.

Numpy alone, so that offline programs and a server compute the same. All that is known of products at the moment is in
`Known` and `Demand`; all that is known of the shopper is in `Shopper`. The signals of `contract.SHELF_SIGNALS`:

- affinity: user vector by product vector, less the highest of the list.
- association, company: `Products.associated` and `Products.companions` of the shopper's interests.
- owned, times, last: whether bought before; log of how many times; log of days since (0 where never).
- due: log of the days since, against the mean days between times; 0 if bought less than twice.
- popular, trend: log of how many baskets have it lately; log of lately against for long.
- price: log of its price against the mean log price of the interests.
- cosine, cosines: of its text with the latest products' texts: the highest, and the mean.
- bought, visited: of the shopper: log of how many products they own; log of days since the latest event.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfbridge.contract import SHELF_SIGNALS
from shelfbridge.shelf.history import KINDS, Owned, Shopper

Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]
Allowed = NDArray[np.bool_] | None
"""Which of N products may be shown; None is all."""

WIDTHS = {"encoder": 150, "association": 100, "owned": 100, "popular": 50}
"""Most candidates of each source."""
LATEST = 10
"""Events whose texts a candidate's is compared with."""
MEMORY = 60.0
"""Days after which an interest counts half."""
REMOVE = KINDS.index("remove")


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Of some of N products, those that each leads to most: numbers int32 [S, K], weights float32 [S, K]."""

    items: Numbers
    weights: Floats
    places: Numbers
    """Row of each product here, -1 where nothing is known of what it leads to [N]."""

    @classmethod
    def of(cls, weights: Floats, most: int) -> "Neighbours":
        """The largest weights of each row of [N, N]."""
        most = min(most, weights.shape[1])
        items = np.argpartition(-weights, most - 1, axis=1)[:, :most]
        return cls(
            items.astype(np.int32),
            np.take_along_axis(weights, items, 1),
            np.arange(len(weights), dtype=np.int32),
        )

    def spread(self, items: Numbers, amounts: Floats) -> Floats:
        """What products [M] and their amounts [M] lead to: float32 [N]."""
        places = self.places[items]
        known = places >= 0
        places = places[known]
        parts = self.weights[places] * amounts[known][:, None]
        summed = np.bincount(self.items[places].ravel(), parts.ravel(), len(self.places))
        return summed.astype(np.float32)


@dataclass(frozen=True)
class Rows:
    """A table [N, width] whose rows are fetched from wherever they are."""

    fetch: Callable[[NDArray[Any]], Floats]

    def __getitem__(self, rows: Numbers) -> Floats:
        return self.fetch(np.asarray(rows, np.int64))


Table = Floats | Rows


@dataclass(frozen=True, eq=False)
class Known(ABC):
    """What is known of N products."""

    vectors: Table
    """That user vectors are multiplied with, W wide."""
    texts: Table
    """Unit vectors of the texts, D wide; zeros for what is gone."""
    prices: Floats
    """NaN where not known [N]."""
    associated: Neighbours
    """By a regression of each product on the others."""
    companions: Neighbours
    """By the cosine of the baskets that they share."""

    @abstractmethod
    def nearest(self, user: Floats, most: int, allowed: Allowed) -> NDArray[np.int64]:
        """Rows of the products whose vectors have the largest products with a user's [W], at most so many."""


@dataclass(frozen=True, eq=False)
class Products(Known):
    """`Known`, as arrays."""

    vectors: Floats
    texts: Floats

    def nearest(self, user: Floats, most: int, allowed: Allowed) -> NDArray[np.int64]:
        """As `Known.nearest`."""
        return best(self.vectors @ user, most, allowed)


@dataclass(frozen=True, eq=False)
class Demand:
    """Baskets that held each product, fading with half-lives of `LATELY` and `LONG` days; float32 [N]."""

    lately: Floats
    long: Floats


LATELY, LONG = 7.0, 56.0


def candidates(shopper: Shopper, user: Floats, products: Known, demand: Demand, allowed: Allowed = None) -> Numbers:
    """Distinct products from all sources for a shopper whose vector is [W], in no order that matters, int32 [C]."""
    owned = shopper.owned
    some = np.ones(len(owned.items), bool) if allowed is None else allowed[owned.items]
    sources = (
        products.nearest(user, WIDTHS["encoder"], allowed),
        best(products.associated.spread(*interests(shopper)), WIDTHS["association"], allowed),
        owned.items[best(worth(owned), WIDTHS["owned"], some)],
        best(demand.lately, WIDTHS["popular"], allowed),
    )
    rows: Numbers = np.unique(np.concatenate(sources)).astype(np.int32)
    return rows


def signals(shopper: Shopper, user: Floats, rows: Numbers, products: Known, demand: Demand) -> Floats:
    """The columns of `SHELF_SIGNALS`, float32 [C, S], of candidates [C]."""
    interest = interests(shopper)
    affinity = products.vectors[rows] @ user
    latest = shopper.recent.latest(LATEST).items
    cosines = products.texts[rows] @ products.texts[latest].T if len(latest) else np.zeros((len(rows), 1), np.float32)
    lately, long = demand.lately[rows], demand.long[rows]
    columns = {
        "affinity": affinity - affinity.max(initial=-np.inf),
        "association": products.associated.spread(*interest)[rows],
        "company": products.companions.spread(*interest)[rows],
        **_habits(shopper.owned, rows),
        "popular": np.log1p(lately),
        "trend": np.log((lately + 1) / (long * LATELY / LONG + 1)),
        "price": _dearer(interest[0], rows, products.prices),
        "cosine": cosines.max(1),
        "cosines": cosines.mean(1),
        "bought": np.log1p(len(shopper.owned.items)),
        "visited": np.log1p(shopper.recent.ages.min(initial=1000)),
    }
    table: Floats = np.stack([np.broadcast_to(columns[name], len(rows)) for name in SHELF_SIGNALS], 1).astype(
        np.float32
    )
    return table


def padded(table: Floats, count: int) -> Floats:
    """Signals [C, S] as a network takes them: [count, S], zeros behind them."""
    whole = np.zeros((count, len(SHELF_SIGNALS)), np.float32)
    whole[: len(table)] = table
    return whole


def worth(owned: Owned) -> Floats:
    """How much a shopper needs what they own: how often it was bought, fading [M]."""
    fading: Floats = (owned.times * _fresh(owned.last)).astype(np.float32)
    return fading


def interests(shopper: Shopper) -> tuple[Numbers, Floats]:
    """Distinct products that the shopper bought, or lately looked at or took, and how much each counts, 0 to 1 [M]."""
    recent, owned = shopper.recent, shopper.owned
    kept = recent.kinds != REMOVE
    both = np.concatenate([owned.items, recent.items[kept]])
    items, place = np.unique(both, return_inverse=True)
    amounts = np.zeros(len(items), np.float32)
    np.maximum.at(amounts, place, _fresh(np.concatenate([owned.last, recent.ages[kept]])))
    return items, amounts


def _fresh(ages: Floats) -> Floats:
    halves: Floats = (0.5 ** (ages / MEMORY)).astype(np.float32)
    return halves


def _habits(owned: Owned, rows: Numbers) -> dict[str, NDArray[Any]]:
    """`owned`, `times`, `last` and `due` by candidate [C]; `owned.items` are in order."""
    if not len(owned.items):
        return {name: np.zeros(len(rows), np.float32) for name in ("owned", "times", "last", "due")}
    place = np.minimum(np.searchsorted(owned.items, rows), len(owned.items) - 1)
    has = owned.items[place] == rows
    times, first, last = owned.times[place], owned.first[place], owned.last[place]
    gap = (first - last) / np.maximum(times - 1, 1)
    due = np.log1p(last) - np.log1p(gap)
    return {
        "owned": has.astype(np.float32),
        "times": np.where(has, np.log1p(times), 0),
        "last": np.where(has, np.log1p(last), 0),
        "due": np.where(has & (times > 1), due, 0),
    }


def _dearer(items: Numbers, rows: Numbers, prices: Floats) -> Floats:
    own, theirs = (np.where(some > 0, some, np.nan) for some in (prices[items], prices[rows]))  # a gift has no price
    if np.isnan(own).all():
        return np.zeros(len(rows), np.float32)
    against: Floats = np.nan_to_num(np.log(theirs) - np.nanmean(np.log(own))).astype(np.float32)
    return against


def best(scores: NDArray[Any], most: int, allowed: Allowed = None) -> NDArray[np.int64]:
    """Rows of the largest scores [N], at most so many, in no order."""
    rows = np.arange(len(scores)) if allowed is None else np.flatnonzero(allowed)
    most = min(most, len(rows))
    return rows[np.argpartition(-scores[rows], most - 1)[:most]] if most else rows[:0]
