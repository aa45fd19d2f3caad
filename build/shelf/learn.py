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

from build.settings import Compression
from build.shelf.baselines import ItemItem, OfSold, Popular, ease, scored
from build.shelf.compress import compress_encoder, compress_head
from build.shelf.export import export_head, export_user_encoder
from build.shelf.interactions import Interactions
from build.shelf.metrics import PARTS, measure
from build.shelf.network import Products
from build.shelf.ranker import PENALTY, Knowledge
from build.shelf.shelf import Shelf, shelves, with_history
from build.shelf.split import Case, Split, cases
from build.shelf.train import Settings
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
        ids = tuple(product.product_id for product in catalogue.products)
        rows = {product_id: row for row, product_id in enumerate(ids)}
        number = np.array([rows.get(product_id, -1) for product_id in interactions.items], np.int32)
        item = number[interactions.item]
        kept = item >= 0
        if not kept.any():
            raise DataError("no interaction is with a product of the catalogue; are these the ids of one shop?")
        some = replace(interactions, item=item).where(kept)
        titles = tuple(product.title for product in catalogue.products)
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
    split, came = Split.of(interactions, weeks), _returns(interactions)
    moments = (0, split.validation, split.test, split.end)
    if not np.histogram(came, moments)[0].all():
        raise DataError(
            f"in a window of {weeks} weeks nobody comes back who bought before, and a shelf learns from those who do; "
            "give more interactions, with one id per shopper"
        )
    return weeks


def _returns(interactions: Interactions) -> NDArray[np.int64]:
    """Times of the interactions of shoppers who are known then [R]."""
    first = np.full(len(interactions.users), np.iinfo(np.int64).max)
    np.minimum.at(first, interactions.user, interactions.time)
    return interactions.time[interactions.time > first[interactions.user]]


def learn(
    folder: Path,
    *,
    behaviour: Behaviour,
    index: Path,
    prices: NDArray[np.float32],
    settings: Settings,
    compression: Compression,
    weeks: int,
    place: str,
    console: Console,
) -> None:
    """Write `user_encoder/`, `shelf_ranker/`, `shelf_candidates/` and `shelf.json`.

    A shelf that knows nothing of the last window is measured on it, beside what is popular and EASE. Another, which
    goes on from it and knows all, is written.

    Args:
        folder: to write to.
        behaviour: what shoppers did.
        index: folder of the index, whose vectors are the texts'.
        prices: of the catalogue, as the server reads them; NaN where not known, float32 [N].
        settings: of the user encoder's training.
        compression: of the networks.
        weeks: most of a window.
        place: where vectors go, as `retrieval.vectors.write_vectors` takes it.
        console: for the progress.

    Raises:
        DataError: too few interactions.
    """
    interactions, unsold = behaviour.interactions, behaviour.unsold
    texts = open_vectors(index).fetch(np.arange(len(interactions.items)))
    weeks = weeks_for(interactions, weeks)
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
        "recall@20": measured(earlier, interactions, split.test, some, console),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    known = with_history(cases(interactions, 0, split.end))
    _write_networks(folder, last, known=known, some=some, compression=compression, console=console)
    _write_products(folder / "shelf_candidates", last.knowledge, end=split.end, some=some, place=place)


def measured(
    shelf: Shelf, interactions: Interactions, cut: int, some: Sequence[Case], console: Console
) -> dict[str, dict[str, float]]:
    """Mean recall@20 of baskets after a moment by the shelf as it was then, and by two baselines, in all parts."""
    histories = [case.history for case in some]
    popular = Popular(shelf.knowledge.popularities[0])
    regression = OfSold(interactions.before(cut), lambda some: ItemItem(ease(some, PENALTY), 60))
    figures = {
        "popular": measure(some, scored(popular, histories)),
        "EASE": measure(some, scored(regression, histories)),
        "shelf": measure(some, shelf.scores(shelf.candidates(histories, console))),
    }
    found = {name: {part: one.mean(part, "recall") for part in PARTS} for name, one in figures.items()}
    for name, parts in found.items():
        console.print(
            f"  recall@20, {name}: " + ", ".join(f"{part} {value:.3f}" for part, value in parts.items()),
            highlight=False,
        )
    return found


def _write_networks(
    folder: Path,
    shelf: Shelf,
    *,
    known: Sequence[Case],
    some: Sequence[Case],
    compression: Compression,
    console: Console,
) -> None:
    users = shelf.knowledge.users
    for name in ("user_encoder", "shelf_ranker"):
        (folder / name).mkdir()
    export_user_encoder(folder / "user_encoder" / "fp32.onnx", users.model.encoder)
    compress_encoder(folder / "user_encoder", users=users, known=known, some=some, chosen=compression, console=console)
    export_head(folder / "shelf_ranker" / "fp32.onnx", shelf.head)
    compress_head(folder / "shelf_ranker", lessons=shelf.lessons)


def _write_products(folder: Path, knowledge: Knowledge, *, end: int, some: Sequence[Case], place: str) -> None:
    products, users = knowledge.products, knowledge.users
    ShelfProducts.write(
        folder,
        vectors=products.vectors,
        users=users.vectors([case.history for case in some[-LIKELY:]]),
        projection=projection_of(users.model.products),
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
