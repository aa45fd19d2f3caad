"""Events to put into stores."""

import itertools
import time

from shelfbridge.profiles import Event, Pseudonyms, Recorded

NAMES = Pseudonyms(b"k" * 32)
NUMBERS = itertools.count()
DAY = 86_400.0


def event(user: str, product: str = "P1", kind: str = "view", ago: float = 0.0, **more) -> Recorded:
    made = {"event_id": f"e-{next(NUMBERS)}", "user": user, "kind": kind, "product_id": product}
    return NAMES.record(Event(**made | {"time": time.time() - ago} | more))
