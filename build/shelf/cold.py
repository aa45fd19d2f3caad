"""Cold start: products that training never heard of, and whether their texts are enough to recommend them."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from build.shelf.interactions import Interactions
from build.shelf.metrics import CUT
from build.shelf.split import Case, cases
from build.shelf.train import Settings, train

SHARE = 0.05
"""Of all products, held out."""


def cold_start(
    interactions: Interactions,
    texts: NDArray[np.float32],
    cut: int,
    *,
    some: Sequence[Case],
    settings: Settings,
    console: Console,
) -> dict[str, Any] | None:
    """Hold products out of all that came before a moment and of all histories; find them in the baskets after it.

    Args:
        interactions: all.
        texts: unit vectors of the products' texts [N, D].
        cut: the moment.
        some: cases after it.
        settings: of the encoder.
        console: for the progress.

    Returns:
        `products` held out, `cases` that bought one, and recall@20 of these by `encoder`, by `texts` (cosine with the
        mean of the history's texts) and by chance: `all`, among all products that the shopper has not bought, and
        `held`, among those held out, as a shelf of new arrivals would rank them. None where no case bought one.
    """
    count = max(1, round(len(texts) * SHARE))
    unseen = np.zeros(len(texts), bool)
    unseen[np.random.default_rng(7).permutation(len(texts))[:count]] = True
    wanted = [
        Case(case.user, case.history.without(unseen), case.bought[unseen[case.bought]])
        for case in some
        if unseen[case.bought].any()
    ]
    wanted = [case for case in wanted if len(case.history)]
    if not wanted:
        return None
    with tempfile.TemporaryDirectory() as folder:
        users = train(texts, cases(interactions, 0, cut), settings, folder=Path(folder), console=console, unseen=unseen)
    by_encoder = users.vectors([case.history for case in wanted]) @ users.items.T
    by_texts = np.stack([texts[np.unique(case.history.items)].mean(0) for case in wanted]) @ texts.T
    return {
        "products": count,
        "cases": len(wanted),
        "encoder": _recalls(wanted, by_encoder, unseen),
        "texts": _recalls(wanted, by_texts, unseen),
        "chance": {
            "all": float(np.mean([CUT / (len(texts) - len(np.unique(case.history.items))) for case in wanted])),
            "held": min(1.0, CUT / count),
        },
    }


def _recalls(some: Sequence[Case], scores: NDArray[np.float32], unseen: NDArray[np.bool_]) -> dict[str, float]:
    found: dict[str, list[float]] = {"all": [], "held": []}
    for case, score in zip(some, scores, strict=True):
        fresh = np.ones(len(score), bool)
        fresh[case.history.items] = False
        for name, allowed in (("all", fresh), ("held", unseen)):
            shown = np.argsort(-np.where(allowed, score, -np.inf), kind="stable")[:CUT]
            found[name].append(float(np.isin(case.bought, shown).mean()))
    return {name: float(np.mean(values)) for name, values in found.items()}
