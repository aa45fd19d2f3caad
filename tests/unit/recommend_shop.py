"""A small shop whose shoppers follow known rules."""

import numpy as np

from build.shelf.interactions import Interactions
from shelfbridge.shelf.history import DAY

NOW = 20_000 * DAY
"""A midnight, after everything."""
GROUPS, EACH = 4, 8
"""Kinds of products, and products of each; a shopper likes one kind."""


def shop(users: int = 60, days: int = 200, seed: int = 0) -> Interactions:
    """Baskets of three products, most of them of the kind that the shopper likes: the user's number modulo `GROUPS`."""
    random = np.random.default_rng(seed)
    rows = []
    basket = 0
    for user in range(users):
        for _ in range(int(random.integers(6, 14))):
            time = NOW - int(random.integers(1, days * DAY))
            liked = (user % GROUPS) * EACH + random.permutation(EACH)[:3]
            other = random.integers(GROUPS * EACH, size=3)
            rows += [(time, user, item, basket) for item in np.where(random.random(3) < 0.9, liked, other)]
            basket += 1
    rows.sort(key=lambda row: row[0])
    time, user, item, basket_of = (np.array(column) for column in zip(*rows, strict=True))
    return Interactions(
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        time=time.astype(np.int64),
        basket=basket_of.astype(np.int32),
        quantity=np.ones(len(rows), np.float32),
        price=(1 + item % EACH).astype(np.float32),
        users=tuple(f"u{number}" for number in range(users)),
        items=tuple(f"p{number}" for number in range(GROUPS * EACH)),
        titles=tuple(f"kind {number // EACH} thing {number % EACH}" for number in range(GROUPS * EACH)),
    )


def texts(seed: int = 1) -> np.ndarray:
    """Unit vectors of the products' texts: those of a kind are near each other."""
    random = np.random.default_rng(seed)
    kinds = np.repeat(random.standard_normal((GROUPS, 16)), EACH, axis=0)
    vectors = kinds + 0.3 * random.standard_normal(kinds.shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
