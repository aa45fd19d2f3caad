"""From an event log to profiles: the loop that a consumer runs, whatever carries the events.

Redis Streams are one `Source`. Kafka would be another: a topic's partition for the stream, an offset for the id,
commits for `finish`. An engine as Flink or Spark takes the `Sink` instead and calls it with batches of its own.

Delivery is at least once, and the sink knows what it has taken, so an event counts once.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import ValidationError

from shelfbridge.clock import Clock
from shelfbridge.profiles.events import Recorded
from shelfbridge.request import explain


@dataclass(frozen=True, slots=True)
class Delivery:
    """An entry of an event log."""

    stream: str
    id: str
    """Within the stream; the same whenever it is delivered again."""
    mark: int
    """Milliseconds since 1970 of its arrival, times 1,000, plus a number that tells it from others of its millisecond.
    Of two events at one time the larger mark is the later."""
    event: bytes
    """`Recorded` as JSON."""


class Source(Protocol):
    """An event log as one consumer of a group sees it."""

    def take(self, wait: float) -> Sequence[Delivery]:
        """Entries that no other consumer works on, and those of consumers that died; waits so many seconds for one."""
        ...

    def finish(self, deliveries: Sequence[Delivery]) -> None:
        """Never deliver these again."""
        ...

    def set_aside(self, delivery: Delivery, reason: str) -> None:
        """Never deliver this one again, but keep it where a person finds it."""
        ...


class Sink(Protocol):
    """Where events count."""

    def apply(self, events: Sequence[tuple[Delivery, Recorded]], taken: float) -> dict[Delivery, str]:
        """Count each event once, however often it comes.

        Args:
            events: of any order.
            taken: when the source delivered them, seconds since 1970.

        Returns:
            Those that can never be counted, and why.

        Raises:
            StoreUnavailable: some may not be counted; deliver all of them again.
        """
        ...

    def settle(self, deliveries: Sequence[Delivery]) -> None:
        """Hear that the source delivers these to nobody any more; one who holds them may still come."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of a consumer did."""

    applied: int = 0
    set_aside: int = 0
    delay: float = 0.0
    """Seconds from the arrival of the first entry until it counted."""


def step(source: Source, sink: Sink, wait: float, clock: Clock = time.time) -> Step:
    """Take what there is, count it, and only then tell the source.

    Raises:
        StoreUnavailable: nothing is lost; take another step.
    """
    deliveries, taken = source.take(wait), clock()
    events: list[tuple[Delivery, Recorded]] = []
    poison: dict[Delivery, str] = {}
    for delivery in deliveries:
        try:
            events.append((delivery, Recorded.model_validate_json(delivery.event)))
        except ValidationError as error:
            poison[delivery] = explain(error)
    poison |= sink.apply(events, taken) if events else {}
    for delivery, reason in poison.items():
        source.set_aside(delivery, reason)
    if done := [delivery for delivery in deliveries if delivery not in poison]:
        source.finish(done)
        sink.settle(done)
    delay = max((clock() - delivery.mark / 1e6 for delivery in done), default=0.0)
    return Step(len(done), len(poison), delay)
