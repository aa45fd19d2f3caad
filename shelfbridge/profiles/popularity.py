"""What sells now: events weighed by kind, each worth half as much a week later.

A product's weight fades with every second, but two products' fade alike, so their order stays. What is stored is
therefore a level that needs no renewal, log2 of the sum of weight x 2^(time / HALF_LIFE): forward decay (Cormode et
al., ICDE 2009) without its landmark.
"""

import math

from shelfbridge.profiles.events import Kind

HALF_LIFE = 7 * 86_400.0
"""Seconds."""
WEIGHTS: dict[Kind, float] = {"view": 1.0, "click": 2.0, "cart": 5.0, "buy": 10.0, "remove": 0.0}
"""Of an event, whatever its quantity: a wholesaler's order is one sign of interest."""
FADED = 40
"""Half-lives after which nothing is left of a view."""


def level(kind: Kind, time: float) -> float:
    """Of one event; -inf if it has no weight."""
    weight = WEIGHTS[kind]
    return math.log2(weight) + time / HALF_LIFE if weight else -math.inf


def joined(one: float, other: float) -> float:
    """Of two levels' events together."""
    low, high = sorted((one, other))
    return high if low == -math.inf else high + math.log1p(2.0 ** (low - high)) / math.log(2)


def faded(now: float) -> float:
    """The level below which a product is forgotten."""
    return now / HALF_LIFE - FADED


def score(level: float, now: float) -> float:
    """The sum of weights as it is at a time."""
    return float(2.0 ** (level - now / HALF_LIFE))
