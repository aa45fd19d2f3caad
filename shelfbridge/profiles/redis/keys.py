"""The keys. What is in braces decides the node of a cluster, so a script's keys share it.

sb:{u:PSEUDONYM}:recent     sorted set by time: events as JSON arrays, see `member`
sb:{u:PSEUDONYM}:bought     hash by product: times, quantity, first and last time
sb:{u:PSEUDONYM}:latest     sorted set by time last bought: products
sb:{u:PSEUDONYM}:seen       sorted set by mark: ids of events that count
sb:{u:PSEUDONYM}:forgotten  the time up to which events are not kept
sb:{pop}:levels             sorted set by level: products
sb:{pop}:counted            sorted set by time: entries of streams that count
sb:{pop}:settled            sorted set by time: those of them that are in no stream any more
sb:{s:N}:events             stream of what waits
sb:{s:N}:set_aside          stream of what can not be counted, with a reason
"""

import json
from typing import Any
from zlib import crc32

from shelfbridge.profiles.events import Recorded

STREAMS = tuple(f"sb:{{s:{number}}}:events" for number in range(8))
"""A user's events are in one of these; more than consumers and nodes, and never changed while events wait."""
POPULAR = ("sb:{pop}:levels", "sb:{pop}:counted", "sb:{pop}:settled")
LEVELS = POPULAR[0]
OF_USER = ("recent", "bought", "latest", "seen", "forgotten")


def of_user(who: str) -> list[str]:
    """The keys of `OF_USER`, in that order."""
    return [f"sb:{{u:{who}}}:{name}" for name in OF_USER]


def forgotten(who: str) -> str:
    """The last key of `of_user`."""
    return of_user(who)[-1]


def events(who: str) -> str:
    """The stream of a user."""
    return STREAMS[crc32(who.encode()) % len(STREAMS)]


def set_aside(stream: str) -> str:
    """A stream's poison."""
    return stream.replace(":events", ":set_aside")


def member(event: Recorded, mark: int) -> str:
    """An event in `recent`; of one time, later ones sort behind."""
    parts: list[Any] = [f"{mark:017d}", event.time, event.kind, event.quantity, event.product_id, event.context]
    return json.dumps(parts, separators=(",", ":"))
