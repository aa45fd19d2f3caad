"""From an event to another shelf."""

import random
import time
from typing import Any
from uuid import uuid4

import numpy as np
from rich.progress import Progress

from loadtests.lab.roofline.served import percentiles
from loadtests.lab.shelf.shoppers import Shoppers
from shelfbridge.client import ShopperClient
from shelfbridge.errors import StoreUnavailable
from shelfbridge.profiles import Event

PATIENCE = 10.0
"""Seconds that an effect is waited for."""


def effects(address: str, shoppers: Shoppers, strangers: int, bar: Progress) -> dict[str, Any]:
    """Milliseconds until three events of a stranger show, from their sending and from their acknowledgement.

    Raises:
        StoreUnavailable: they do not show.
    """
    from_call, from_acknowledged, changed = [], [], []
    chance = random.Random(7)
    task = bar.add_task("events to effect", total=strangers)
    with ShopperClient(address, timeout=10.0) as client:
        for _ in range(strangers):
            user = f"stranger-{uuid4().hex}"
            before = {hit.product_id for hit in client.recommend(user=user, with_payload=False).hits}
            some = chance.sample(shoppers.products, 3)
            begun = time.perf_counter()
            client.send([_viewed(user, product) for product in some])
            acknowledged = time.perf_counter()
            while (shelf := client.recommend(user=user, with_payload=False)).shown != "for_you":
                if time.perf_counter() - begun > PATIENCE:
                    raise StoreUnavailable(f"events do not show within {PATIENCE:g} s; see whether a consumer runs")
            ended = time.perf_counter()
            from_call.append((ended - begun) * 1e3)
            from_acknowledged.append((ended - acknowledged) * 1e3)
            changed.append(len({hit.product_id for hit in shelf.hits} - before))
            client.forget(user)
            bar.advance(task)
    return {
        "strangers": strangers,
        "from_call": percentiles(np.array(from_call)),
        "from_acknowledged": percentiles(np.array(from_acknowledged)),
        "slowest": round(max(from_call), 3),
        "new_products": float(np.mean(changed)),
    }


def _viewed(user: str, product: str) -> Event:
    return Event(event_id=uuid4().hex, user=user, kind="view", product_id=product, time=time.time())
