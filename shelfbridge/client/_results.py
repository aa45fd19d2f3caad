"""What a server answers: plain, frozen values that no connection hangs on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shelfbridge.contract import Shelf


@dataclass(frozen=True, slots=True)
class Hit:
    """One product found."""

    rank: int
    """From 1, best first."""
    product_id: str
    score: float
    """Higher is better; comparable within one result only."""
    product: Mapping[str, Any] | None = None
    """The product's fields, where the search asked for them."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to one search."""

    hits: tuple[Hit, ...]
    """Best first; fewer than `k` where the filters leave fewer."""
    steps: Mapping[str, float]
    """Milliseconds by step, in the order of `shelfbridge.contract.STEPS`, the wait before a model step counted in it.
    Empty where the server's steps are other than those this client knows."""
    model_version: str
    request_id: str
    round_trip_ms: float
    """Milliseconds from the call to the answer as the caller saw them: network, retries and pauses included."""
    attempts: int = 1
    """Requests sent; more than 1 where the server was unavailable at first."""


@dataclass(frozen=True, slots=True)
class ShelfHit(Hit):
    """One product on a shelf."""

    explored: bool = False
    """Whether it stands there to be tried out rather than for its score."""


@dataclass(frozen=True, slots=True)
class ShelfResult:
    """A filled shelf; what is not described here is as in `SearchResult`."""

    shown: Shelf
    """What is really shown: `popular` to strangers."""
    hits: tuple[ShelfHit, ...]
    steps: Mapping[str, float]
    model_version: str
    request_id: str
    round_trip_ms: float
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class RefusedEvent:
    """An event that was not kept; sending it again will not help."""

    place: int
    """Among those that were sent, from 0."""
    reason: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of events."""

    accepted: int
    """Kept: they survive a crash. One that was kept before counts here too."""
    refused: tuple[RefusedEvent, ...] = ()
