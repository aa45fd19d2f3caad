"""The `ProfileStore` in Redis: reads profiles, and puts events where consumers find them."""

import json
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from shelfbridge.clock import Clock
from shelfbridge.profiles import popularity
from shelfbridge.profiles.events import Recorded, Refused
from shelfbridge.profiles.profile import RECENT, Bought, Profile, Recent
from shelfbridge.profiles.redis import keys
from shelfbridge.profiles.redis.client import Client
from shelfbridge.profiles.redis.stream import GROUP
from shelfbridge.profiles.store import DAY, sifted

PAGE = 1000


class RedisStore:
    """A `ProfileStore`; `clock` tells seconds since 1970."""

    def __init__(self, uri: str, *, retention_days: float, timeout: float, clock: Clock = time.time) -> None:
        self.clock = clock
        self._retention = retention_days * DAY
        self._reader, self._writer = Client(uri, timeout), Client(uri)

    def put(self, events: Sequence[Recorded]) -> list[Refused]:
        """As `ProfileStore.put`; they count when a consumer has taken them, mostly within milliseconds."""
        users = list({event.who for event in events})
        with self._writer.explained() as client:
            line = client.pipeline(transaction=False)
            for who in users:
                line.get(keys.forgotten(who))
            forgotten = {who: float(until) for who, until in zip(users, line.execute(), strict=True) if until}
            kept, refused = sifted(events, now=self.clock(), retention=self._retention, forgotten=forgotten.get)
            for event in kept:
                line.xadd(keys.events(event.who), {"event": event.model_dump_json()})
            line.execute()
        return refused

    def profile(self, who: str) -> Profile:
        """As `ProfileStore.profile`: one round trip."""
        recent, bought, *_ = keys.of_user(who)
        floor = self.clock() - self._retention
        with self._reader.explained() as client:
            line = client.pipeline(transaction=False)
            line.zrevrangebyscore(recent, "+inf", floor, start=0, num=RECENT)
            line.hgetall(bought)
            members, products = line.execute()
        return _profile(members, products, floor)

    def popular(self, now: float, most: int) -> list[tuple[str, float]]:
        """As `ProfileStore.popular`."""
        with self._reader.explained() as client:
            rows = client.zrevrange(keys.LEVELS, 0, most - 1, withscores=True) if most else []
        return [(product.decode(), popularity.score(level, now)) for product, level in rows]

    def export(self, who: str) -> dict[str, Any]:
        """As `ProfileStore.export`."""
        recent, bought, _, seen, forgotten = keys.of_user(who)
        stream = keys.events(who)
        with self._writer.explained() as client:
            line = client.pipeline(transaction=False)
            line.zrevrange(recent, 0, -1)
            line.hgetall(bought)
            line.zrange(seen, 0, -1, withscores=True)
            line.get(forgotten)
            members, products, ids, until = line.execute()
        return {
            **_profile(members, products).record,
            "event_ids": {name.decode(): mark / 1e6 for name, mark in ids},
            "waiting": [_text(fields) for _, fields in self._of(who, stream)],
            "set_aside": [_text(fields) for _, fields in self._of(who, keys.set_aside(stream))],
            "forgotten": float(until) if until else None,
        }

    def forget(self, who: str) -> None:
        """As `ProfileStore.forget`; first the time, so that no consumer counts what it holds already."""
        stream = keys.events(who)
        waiting = [_time(fields) for _, fields in self._of(who, stream)]
        self._writer.run("forget", keys.of_user(who), repr(max([self.clock(), *waiting])), self._retention)
        for one in (stream, keys.set_aside(stream)):
            for entry, _ in self._of(who, one):
                self._writer.run("finish", [one], GROUP, entry)

    def close(self) -> None:
        """As `ProfileStore.close`."""
        self._reader.close()
        self._writer.close()

    def _of(self, who: str, stream: str) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
        """A user's entries of a stream: those that name the pseudonym anywhere."""
        after = "-"
        while True:
            with self._writer.explained() as client:
                page = client.xrange(stream, after, "+", PAGE)
            for entry, fields in page:
                if any(who.encode() in part for field in fields.items() for part in field):
                    yield entry, fields
            if len(page) < PAGE:
                return
            after = f"({page[-1][0].decode()}"


def _time(fields: dict[bytes, bytes]) -> float:
    """When an event that waits happened; 0 where the entry holds none, as it can never count."""
    try:
        return Recorded.model_validate_json(fields.get(b"event", b"")).time
    except ValidationError:
        return 0.0


def _text(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}


def _profile(members: Sequence[bytes], products: dict[bytes, bytes], floor: float = -math.inf) -> Profile:
    """A profile as `keys.member` and the script `apply` write it, with what was bought from a time on."""
    recent = json.loads(b"[" + b",".join(members) + b"]")
    bought = {}
    for product, how in products.items():
        times, quantity, first, last = how.split(b",")
        if float(last) >= floor:
            bought[product.decode()] = Bought(int(times), int(quantity), float(first), float(last))
    return Profile(
        tuple(Recent(product, kind, time, quantity, context) for _, time, kind, quantity, product, context in recent),
        bought,
    )
