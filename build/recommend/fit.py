"""The shelf that serves: learned from everything, as files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from build.recommend.export import export_head, export_user_encoder
from build.recommend.interactions import Interactions
from build.recommend.shelf import shelves
from build.recommend.split import WEEKS, Split
from build.recommend.train import Settings

ENCODER, RANKER, PRODUCTS = "user_encoder.onnx", "shelf_ranker.onnx", "products.npz"


def fit(
    folder: Path,
    interactions: Interactions,
    texts: NDArray[np.float32],
    *,
    console: Console,
    weeks: int = WEEKS,
    settings: Settings | None = None,
) -> None:
    """Learn and write.

    The ranker learns from the last two windows. `products.npz` holds, by row: `ids`, `vectors` [N, W], `texts` [N, D],
    `prices` [N], `associated_items`, `associated_weights`, `companions_items`, `companions_weights` [N, K] as
    `signals.Products` has them, and `lately` and `long` [N], the demand at the end of the data.

    Raises:
        DataError: too few interactions for the windows.
    """
    split = Split.of(interactions, weeks)
    cuts = (split.validation, split.test, split.end)
    *_, last = shelves(interactions, texts, cuts, settings or Settings(), console)
    knowledge = last.knowledge
    products = knowledge.products
    folder.mkdir(parents=True, exist_ok=True)
    export_user_encoder(folder / ENCODER, knowledge.users.model.encoder)
    export_head(folder / RANKER, last.head)
    lately, long = (one.at(split.end) for one in knowledge.popularities)
    np.savez(
        folder / PRODUCTS,
        ids=np.array(interactions.items),
        vectors=products.vectors,
        texts=products.texts,
        prices=products.prices,
        associated_items=products.associated.items,
        associated_weights=products.associated.weights,
        companions_items=products.companions.items,
        companions_weights=products.companions.weights,
        lately=lately,
        long=long,
    )
