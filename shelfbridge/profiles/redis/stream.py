"""Redis Streams as a `Source`: a consumer group, whose members take over from those that died."""

import os
import secrets
import socket
import time
from collections.abc import Iterable, Sequence
from typing import Any

from redis.exceptions import ResponseError

from shelfbridge.profiles.consuming import Delivery
from shelfbridge.profiles.redis import keys
from shelfbridge.profiles.redis.client import Client
from shelfbridge.profiles.store import DAY

GROUP = "profiles"
BATCH = 100
"""Most entries taken at a time of one stream."""
TAKE_OVER = 5.0
"""Seconds after which what a consumer has taken and not finished goes to another."""
GONE = 86_400.0
"""Seconds after which the name of a consumer that does nothing is deleted."""
POLL = 0.01
"""Seconds between looks at a cluster, where no command can wait for streams of several nodes."""


class RedisSource:
    """A member of the group, under a name that no other has."""

    def __init__(self, client: Client, *, retention_days: float, take_over: float = TAKE_OVER) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._client, self._take_over, self._retention = client, take_over, retention_days * DAY
        self._looked = 0.0
        self._joined = False

    def take(self, wait: float) -> Sequence[Delivery]:
        """As `Source.take`."""
        with self._client.explained() as client:
            try:
                if not self._joined:
                    self._join(client)
                if time.monotonic() - self._looked >= self._take_over:
                    if taken := self._take_from_the_dead(client):
                        return taken
                    self._looked = time.monotonic()
                return self._read(client, wait)
            except ResponseError as error:
                self._joined &= "NOGROUP" not in str(error)  # Redis has lost it: the next step makes it again
                raise

    def finish(self, deliveries: Sequence[Delivery]) -> None:
        """As `Source.finish`."""
        by_stream: dict[str, list[str]] = {}
        for delivery in deliveries:
            by_stream.setdefault(delivery.stream, []).append(delivery.id)
        self._client.run_all("finish", [([stream], [GROUP, *entries]) for stream, entries in by_stream.items()])

    def set_aside(self, delivery: Delivery, reason: str) -> None:
        """As `Source.set_aside`: in a stream beside the other, for as long as events are kept."""
        streams, kept = [delivery.stream, keys.set_aside(delivery.stream)], max(1, int(self._retention))
        self._client.run("set_aside", streams, GROUP, delivery.id, reason, kept)

    def waiting(self) -> int:
        """Entries of all streams that do not count yet."""
        with self._client.explained() as client:
            line = client.pipeline(transaction=False)
            for stream in keys.STREAMS:
                line.xlen(stream)
            return sum(line.execute())

    def leave(self) -> None:
        """End this membership; what is not finished goes to the others."""
        for stream in keys.STREAMS:
            self._client.run("leave", [stream], GROUP, self.name)

    def _join(self, client: Any) -> None:
        for stream in keys.STREAMS:
            try:
                client.xgroup_create(stream, GROUP, "0", mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
            for one in client.xinfo_consumers(stream, GROUP):
                if one["idle"] > GONE * 1000:
                    self._client.run("leave", [stream], GROUP, one["name"])
        self._joined = True

    def _take_from_the_dead(self, client: Any) -> list[Delivery]:
        found: list[Delivery] = []
        for stream in keys.STREAMS:
            answer = client.xautoclaim(stream, GROUP, self.name, int(self._take_over * 1000), count=BATCH)
            found += _deliveries(stream, answer[1])
        return found

    def _read(self, client: Any, wait: float) -> list[Delivery]:
        if not self._client.clustered:
            return self._read_some(client, keys.STREAMS, max(1, int(wait * 1000)))
        until = time.monotonic() + wait
        while True:
            found = [delivery for stream in keys.STREAMS for delivery in self._read_some(client, [stream], None)]
            if found or time.monotonic() > until:
                return found
            time.sleep(POLL)

    def _read_some(self, client: Any, streams: Sequence[str], block: int | None) -> list[Delivery]:
        answer = client.xreadgroup(GROUP, self.name, dict.fromkeys(streams, ">"), count=BATCH, block=block)
        return [found for stream, entries in answer for found in _deliveries(stream.decode(), entries)]


def _deliveries(stream: str, entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> list[Delivery]:
    found = []
    for entry, fields in entries:
        milliseconds, number = entry.decode().split("-")
        mark = int(milliseconds) * 1000 + int(number) % 1000
        found.append(Delivery(stream, entry.decode(), mark, fields.get(b"event", b"")))
    return found
