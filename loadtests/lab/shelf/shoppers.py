"""Shoppers of a shop's interactions, as events that happened up to now."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from rich.progress import Progress

from build.shelf.interactions import Interactions
from shelfbridge.client import ShopperClient
from shelfbridge.errors import DataError
from shelfbridge.profiles import Event
from shelfbridge.profiles.events import MAX_ROWS

LATEST = 30_000
"""Most events that are sent, the latest."""


@dataclass(frozen=True)
class Shoppers:
    """Who is known, what they did, and what is sold."""

    users: tuple[str, ...]
    events: tuple[Event, ...]
    """Purchases, the last of them now."""
    products: tuple[str, ...]
    """That were bought, in the order of their ids."""

    @classmethod
    def of(cls, interactions: Interactions, sold: set[str]) -> "Shoppers":
        """The latest purchases of what is sold.

        Raises:
            DataError: none is.
        """
        shift = time.time() - float(interactions.time[-1]) - 1
        events = tuple(
            Event(
                event_id=f"load-{row}",
                user=interactions.users[interactions.user[row]],
                kind="buy",
                product_id=interactions.items[interactions.item[row]],
                time=float(interactions.time[row]) + shift,
            )
            for row in range(max(0, len(interactions) - LATEST), len(interactions))
            if interactions.items[interactions.item[row]] in sold
        )
        if not events:
            raise DataError("no product of the interactions is sold; give those that the release was built from")
        users = tuple(sorted({event.user for event in events}))
        return cls(users, events, tuple(sorted({event.product_id for event in events})))


def send(address: str, shoppers: Shoppers, bar: Progress) -> int:
    """Send all events to a server.

    Returns:
        How many it took.
    """
    task = bar.add_task("sending events", total=len(shoppers.events))
    taken = 0
    with ShopperClient(address, timeout=30.0) as client:
        for batch in _batches(shoppers.events):
            taken += client.send(batch).accepted
            bar.advance(task, len(batch))
    return taken


def _batches(events: tuple[Event, ...]) -> Iterator[tuple[Event, ...]]:
    for start in range(0, len(events), MAX_ROWS):
        yield events[start : start + MAX_ROWS]
