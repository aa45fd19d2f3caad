"""The shelf that serves: learned from all that shoppers did, in the rows of a catalogue, as parts of a release."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from build.settings import Compression, ShelfSettings
from build.shelf.baselines import ease, item_item, of_sold, popular, scored
from build.shelf.compress import write_encoder, write_head
from build.shelf.interactions import Interactions
from build.shelf.metrics import measure
from build.shelf.network import Products
from build.shelf.ranker import PENALTY, Knowledge, Shelf, shelves
from build.shelf.split import Case, Split, cases, with_history
from shelfbridge.catalogue import Catalogue
from shelfbridge.contract import SHELF_EVENTS
from shelfbridge.errors import DataError
from shelfbridge.retrieval.vectors import open_vectors
from shelfbridge.shelf.history import DAY
from shelfbridge.shelf.products import Projection, ShelfProducts

PARTS_OF_RELEASE = ("user_encoder", "shelf_ranker", "shelf_candidates")
LIKELY = 300
"""Shoppers by whose vectors search in a large catalogue is set up."""
COMPARED = 500
"""Baskets of the last window that figures and compressed forms are compared on."""
RECORD = "shelf.json"


@dataclass(frozen=True)
class Behaviour:
    """What shoppers did, in the rows of a catalogue: a product's number is its row, sold or not."""

    interactions: Interactions
    unknown: int
    """Interactions left out, as the catalogue does not have their product."""

    @classmethod
    def of(cls, interactions: Interactions, catalogue: Catalogue) -> "Behaviour":
        """Number products anew.

        Raises:
            DataError: no interaction is with a product of the catalogue.
        """
        rows = np.array([catalogue.rows_of.get(product_id, -1) for product_id in interactions.items], np.int32)
        item = rows[interactions.item]
        kept = item >= 0
        if not kept.any():
            raise DataError("no interaction is with a product of the catalogue; are these the ids of one shop?")
        some = replace(interactions, item=item).where(kept)
        ids, titles = zip(*((product.product_id, product.title) for product in catalogue.products), strict=True)
        return cls(replace(some, items=ids, titles=titles), int((~kept).sum()))

    @property
    def identity(self) -> str:
        """Digest of the interactions."""
        columns = (getattr(self.interactions, name) for name in ("user", "item", "time", "basket"))
        return sha256(b"".join([*(column.tobytes() for column in columns), b"%d" % self.unknown])).hexdigest()

    @property
    def unsold(self) -> NDArray[np.bool_]:
        """Products that nobody bought [N]."""
        return ~np.isin(np.arange(len(self.interactions.items)), self.interactions.item)


def weeks_for(interactions: Interactions, most: int) -> int:
    """The longest windows, up to `most` weeks, for which the interactions suffice.

    Raises:
        DataError: they do not reach back six weeks, or in a window no shopper comes back.
    """
    days = (int(interactions.time[-1]) - int(interactions.time[0])) / DAY
    weeks = min(most, int(days / 7 / 6))
    if not weeks:
        raise DataError(f"{days:.0f} days of interactions are too few for a shelf; give six weeks at least")
    split = Split.of(interactions, weeks)
    first = np.full(len(interactions.users), np.iinfo(np.int64).max)
    np.minimum.at(first, interactions.user, interactions.time)
    returns = interactions.time[interactions.time > first[interactions.user]]
    if not np.histogram(returns, (0, split.validation, split.test, split.end))[0].all():
        raise DataError(
            f"in a window of {weeks} weeks nobody comes back who bought before, and a shelf learns from those who do; "
            "give more interactions, with one id per shopper"
        )
    return weeks


def learn(
    folder: Path,
    *,
    behaviour: Behaviour,
    index: Path,
    prices: NDArray[np.float32],
    settings: ShelfSettings,
    compression: Compression,
    place: str,
    console: Console,
) -> None:
    """Write `user_encoder/`, `shelf_ranker/`, `shelf_candidates/` and `shelf.json`.

    A shelf that knows nothing of the last window is measured on it, beside what is popular and EASE. Another, which
    goes on from it and knows all, is written.

    Args:
        index: folder of the index, whose vectors are the texts'.
        prices: of the catalogue, as the server reads them; NaN where not known, float32 [N].
        place: where vectors go, as `retrieval.vectors.write_vectors` takes it.

    Raises:
        DataError: too few interactions.
    """
    interactions, unsold = behaviour.interactions, behaviour.unsold
    texts = open_vectors(index).fetch(np.arange(len(interactions.items)))
    weeks = weeks_for(interactions, settings.weeks)
    split = Split.of(interactions, weeks)
    cuts = (split.validation, split.test, split.end)
    earlier, last = shelves(interactions, texts, cuts, settings, console, prices=lambda _: prices, unseen=unsold)
    some = with_history(cases(interactions, split.test, split.end))[-COMPARED:]
    record: dict[str, Any] = {
        "identity": behaviour.identity,
        "interactions": len(interactions),
        "of_unknown_products": behaviour.unknown,
        "shoppers": len(np.unique(interactions.user)),
        "never_sold": int(unsold.sum()),
        "weeks": weeks,
        "events": Counter(min(len(case.history), SHELF_EVENTS) for case in some),
        "recall@20": measured(earlier, interactions.before(split.test), some, console),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    for name in PARTS_OF_RELEASE:
        (folder / name).mkdir()
    known = with_history(cases(interactions, 0, split.end))
    encoder, ranker, products = (folder / name for name in PARTS_OF_RELEASE)
    users = last.knowledge.users
    write_encoder(encoder, users, known=known, some=some, chosen=compression, console=console)
    write_head(ranker, last)
    _write_products(products, last.knowledge, end=split.end, some=some, place=place)


def measured(shelf: Shelf, past: Interactions, some: Sequence[Case], console: Console) -> dict[str, dict[str, float]]:
    """Mean recall@20 of baskets by the shelf as it was before them, and by two baselines, in all parts."""
    regression = of_sold(past, lambda sold: item_item(ease(sold, PENALTY), 60))
    scores = {
        "popular": scored(popular(shelf.knowledge.popularities[0]), some),
        "EASE": scored(regression, some),
        "shelf": shelf.scores([case.history for case in some], console),
    }
    found = {name: measure(some, one).means("recall") for name, one in scores.items()}
    for name, parts in found.items():
        told = ", ".join(f"{part} {value:.3f}" for part, value in parts.items())
        console.print(f"  recall@20, {name}: {told}", highlight=False)
    return found


def _write_products(folder: Path, knowledge: Knowledge, *, end: int, some: Sequence[Case], place: str) -> None:
    products, users = knowledge.products, knowledge.users
    ShelfProducts.write(
        folder,
        vectors=products.vectors,
        users=users.vectors([case.history for case in some[-LIKELY:]]),
        projection=projection_of(users.products),
        associated=products.associated,
        companions=products.companions,
        demand=knowledge.demand(end),
        place=place,
    )


def projection_of(products: Products) -> Projection:
    """The layers from texts to vectors, as the server computes them."""
    inner, _, outer = (cast("nn.Linear", layer) for layer in products.projection)
    weights = (products.centre, inner.weight, inner.bias, outer.weight, outer.bias)
    return Projection(*(one.detach().numpy().astype(np.float32) for one in weights))
