"""Where events from a `Source` count: first in the user's slot, then, if new there, in that of what is popular."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from redis.exceptions import ResponseError

from shelfbridge.clock import Clock
from shelfbridge.errors import StoreUnavailable
from shelfbridge.profiles import popularity
from shelfbridge.profiles.consuming import Delivery
from shelfbridge.profiles.events import Recorded
from shelfbridge.profiles.profile import BOUGHT, RECENT
from shelfbridge.profiles.redis import keys
from shelfbridge.profiles.redis.client import Client
from shelfbridge.profiles.store import DAY

COUNTED = 30 * 86_400
"""Seconds that the popular slot knows an entry that may be delivered again: no outage of all consumers is longer. An
event that is *sent* again is a new entry, but the user's slot knows its id as long as events are kept."""
SETTLED = 3600
"""Seconds that it knows one that is delivered to nobody any more, as a slow consumer may still hold it."""
PART = 100
"""Most events that a script counts."""
Pair = tuple[Delivery, Recorded]


class RedisSink:
    """A `Sink`; `clock` tells seconds since 1970."""

    def __init__(self, client: Client, *, retention_days: float, clock: Clock = time.time) -> None:
        self.clock = clock
        self._client, self._retention = client, retention_days * DAY
        self._settled: list[str] = []

    def apply(self, events: Sequence[Pair], taken: float) -> dict[Delivery, str]:
        """As `Sink.apply`."""
        counts, refused = self._profiles(events)
        if self.clock() - taken > SETTLED / 2:
            raise StoreUnavailable("this consumer stood still for so long that others took over; take again")
        self._popular([pair for pair in counts if popularity.WEIGHTS[pair[1].kind]])
        return refused

    def settle(self, deliveries: Sequence[Delivery]) -> None:
        """As `Sink.settle`; Redis hears of it with the next batch."""
        self._settled += [_entry(delivery) for delivery in deliveries]

    def _profiles(self, events: Sequence[Pair]) -> tuple[list[Pair], dict[Delivery, str]]:
        """Those that count, and those that cannot."""
        by_user: dict[str, list[Pair]] = {}
        for delivery, event in events:
            by_user.setdefault(event.who, []).append((delivery, event))
        groups = [part for pairs in by_user.values() for part in _parts(pairs)]
        calls = [(keys.of_user(group[0][1].who), [*self._arguments(group)]) for group in groups]
        counts: list[Pair] = []
        refused: dict[Delivery, str] = {}
        for group, answer in zip(groups, self._client.run_all("apply", calls), strict=True):
            if isinstance(answer, ResponseError):
                refused |= {delivery: _poison(answer) for delivery, _ in group}
            else:
                counts += [pair for pair, one in zip(group, answer, strict=True) if one]
        return counts, refused

    def _arguments(self, group: Sequence[Pair]) -> Iterator[Any]:
        yield from (repr(self.clock() - self._retention), self._retention, RECENT, BOUGHT)
        for delivery, event in group:
            yield from (event.id, delivery.mark, repr(event.time), event.kind, event.quantity, event.product_id)
            yield keys.member(event, delivery.mark)

    def _popular(self, counts: Sequence[Pair]) -> None:
        fixed = [COUNTED, SETTLED, repr(popularity.faded(self.clock())), max(1, int(self._retention))]
        settled, calls = self._settled, []
        for part in _parts(counts):
            arguments: list[Any] = [*fixed, len(settled), *settled]
            for delivery, event in part:
                arguments += [_entry(delivery), event.product_id, repr(popularity.level(event.kind, event.time))]
            calls.append((keys.POPULAR, arguments))
            settled = []
        for answer in self._client.run_all("count", calls):
            if isinstance(answer, ResponseError):
                raise _unavailable(answer)
        self._settled = settled


def _entry(delivery: Delivery) -> str:
    return f"{delivery.stream} {delivery.id}"


def _poison(error: ResponseError) -> str:
    """Why a user's events can never count.

    Raises:
        StoreUnavailable: they can when Redis is well again.
    """
    if "WRONGTYPE" not in str(error):
        raise _unavailable(error)
    return "a key of its user holds what is no profile"


def _unavailable(error: ResponseError) -> StoreUnavailable:
    cure = "see whether it has memory left and is no replica"
    return StoreUnavailable(f"Redis does not count events: {type(error).__name__}; {cure}")


def _parts(pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    """So few at a time that no script keeps a reader waiting."""
    for start in range(0, len(pairs), PART):
        yield pairs[start : start + PART]
