"""Shoppers by recency, frequency and value, and how they move between the segments."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build.behaviour.tables import Baskets, baskets, ending
from build.shelf.interactions import DAY, Interactions


@dataclass(frozen=True)
class Segment:
    """A name, the rule that puts a shopper into it, and what one might do."""

    name: str
    rule: str
    advice: str


SEGMENTS = (
    Segment("Champions", "active, frequent and valuable", "First look at new ranges; no discount is needed."),
    Segment("Loyal", "active and frequent", "Raise the basket: show what goes with what they buy."),
    Segment(
        "Big spenders", "active and valuable, not frequent", "Make the next visit easy: buy-again shelf, delivery."
    ),
    Segment("Newcomers", "active, with one basket so far", "The second basket decides; remind them in time."),
    Segment("Occasional", "active, none of the above", "Popular and seasonal products in the usual rhythm."),
    Segment("At risk", "lapsed, but frequent or valuable", "Ask what is missing; worth a personal offer."),
    Segment("Lapsed", "lapsed, with two baskets or more", "A reminder of what they bought, now and then."),
    Segment("One-time", "lapsed, with one basket", "Cheap channels only."),
)
NONE = "no basket"


@dataclass(frozen=True)
class Limits:
    """Where the words of the rules begin."""

    active_days: float
    """Active: the last basket is at most so many days old. Nine of ten returns came sooner than this."""
    frequent: int
    """Baskets: the upper quarter of shoppers, and 3 at least."""
    valuable: float
    """Spent: the upper fifth of shoppers."""


@dataclass(frozen=True)
class Shoppers:
    """S users by what they have done up to a moment."""

    user: NDArray[np.int64]
    recency: NDArray[np.float64]
    """Days since the last basket [S]."""
    frequency: NDArray[np.int64]
    value: NDArray[np.float64]


def shoppers(held: Baskets, now: int) -> Shoppers:
    """Recency, frequency and value of everyone who has a basket."""
    user, frequency = np.unique(held.user, return_counts=True)
    last = np.zeros(int(user[-1]) + 1, np.int64)
    last[held.user] = held.time  # in the order of time: the last stays
    spent = np.bincount(held.user, held.worth).astype(np.float64)
    return Shoppers(user.astype(np.int64), (now - last[user]) / DAY, frequency, spent[user])


def limits(held: Baskets, now: int) -> Limits:
    """The limits that a shop's own baskets give."""
    people = shoppers(held, now)
    order = np.lexsort((held.time, held.user))
    same = np.diff(held.user[order]) == 0
    gaps = np.diff(held.time[order])[same] / DAY
    gaps = gaps[gaps > 0]
    return Limits(
        active_days=float(np.ceil(np.quantile(gaps, 0.9))) if len(gaps) else float(np.median(people.recency)),
        frequent=max(3, int(np.ceil(np.quantile(people.frequency, 0.75)))),
        valuable=float(np.quantile(people.value, 0.8)),
    )


def assigned(people: Shoppers, limit: Limits) -> NDArray[np.int64]:
    """Number of the segment of each: the first whose rule fits [S]."""
    active = people.recency <= limit.active_days
    frequent = people.frequency >= limit.frequent
    valuable = people.value >= limit.valuable
    once = people.frequency == 1
    rules = [
        active & frequent & valuable,
        active & frequent,
        active & valuable,
        active & once,
        active,
        frequent | valuable,
        ~once,
        once,
    ]
    number: NDArray[np.int64] = np.argmax(np.stack(rules), axis=0)
    return number


def segments(shop: Interactions) -> dict[str, Any]:
    """Sizes and revenue of the segments now, and the movement from the first half of the time to the second."""
    held, now = baskets(shop), ending(shop)
    limit = limits(held, now)
    people = shoppers(held, now)
    number = assigned(people, limit)
    everything = people.value.sum() or 1.0
    rows = []
    for at, segment in enumerate(SEGMENTS):
        some = number == at
        rows.append(
            {
                **asdict(segment),
                "users": int(some.sum()),
                "share": float(some.mean()),
                "revenue_share": float(people.value[some].sum() / everything),
                "recency": float(np.median(people.recency[some])) if some.any() else None,
                "frequency": float(np.median(people.frequency[some])) if some.any() else None,
                "value": float(np.median(people.value[some])) if some.any() else None,
            }
        )
    return {"limits": asdict(limit), "segments": rows, "movement": movement(held, now)}


def movement(held: Baskets, now: int) -> dict[str, Any]:
    """From the segment at the end of the first half to the one at the end of the second.

    Each half counts its own baskets only, and both obey the limits of the first half.

    Returns:
        `counts`: rows are the segments of the first half and then those without a basket in it; columns, of the second.
    """
    middle = int(held.time[0] + (now - held.time[0]) // 2)
    early, late = held.where(held.time < middle), held.where(held.time >= middle)
    limit = limits(early, middle)
    place = np.full((2, int(held.user.max()) + 1), len(SEGMENTS))
    for half, (some, moment) in enumerate(((early, middle), (late, now))):
        people = shoppers(some, moment)
        place[half, people.user] = assigned(people, limit)
    seen = np.unique(held.user)
    counts = np.zeros((len(SEGMENTS) + 1, len(SEGMENTS) + 1), np.int64)
    np.add.at(counts, (place[0, seen], place[1, seen]), 1)
    names = [*(segment.name for segment in SEGMENTS), NONE]
    champions = counts[0]
    return {
        "limits": asdict(limit),
        "names": names,
        "counts": counts.tolist(),
        "champions_kept": float(champions[:3].sum() / champions.sum()) if champions.sum() else None,
        "champions_gone": float(champions[-1] / champions.sum()) if champions.sum() else None,
        "newcomers_back": float(1 - counts[3, -1] / counts[3].sum()) if counts[3].sum() else None,
    }
