"""A small release as its steps see it, and products to change."""

from pathlib import Path

import numpy as np

from build.evaluation.offline import EncodedQuery, Retrieval
from shelfbridge.catalogue import Product
from shelfbridge.contract import SIGNALS
from shelfbridge.release import Release, Snapshot
from shelfbridge.request import Filters
from shelfbridge.retrieval import Candidates
from tests.functional import tiny

BASE = tuple(tiny.catalogue())
LAMP = Product(
    product_id="new-1", title="black desk lamp zyntrax 7", brand="Dorado", category="Light", price=3, stock=1
)
SHOES = BASE[0]


def with_title(product: Product, title: str) -> Product:
    return product.model_copy(update={"title": title})


class Shop:
    """A release as its steps see it."""

    def __init__(self, release: Path) -> None:
        self.release = Release.open(release, ["index", "pairs", "store"])
        self.encoder = Retrieval.open(
            release / "preprocess/1/tokenizer.json", release / "encoder/1/model.onnx", release / "retrieve/1"
        )

    def now(self) -> Snapshot:
        """As it is at this moment."""
        self.release.refresh()
        return self.release.now()

    def query(self, text: str) -> EncodedQuery:
        return self.encoder.encode(text)

    def candidates(self, text: str, filters: Filters | None = None) -> Candidates:
        query = self.query(text)
        return self.now().index.search(query.text, query.embedding, filters or Filters())

    def found(self, text: str, filters: Filters | None = None) -> list[str]:
        rows = self.candidates(text, filters).rows
        return self.now().store.ids(rows[rows >= 0].tolist())

    def of(self, text: str, product_id: str) -> dict[str, np.ndarray]:
        """What the ranker sees of one candidate."""
        found = self.candidates(text)
        at = self.now().store.ids(found.rows[found.rows >= 0].tolist()).index(product_id)
        tokens = found.tokens[at, : found.lengths[at]]
        return {"tokens": tokens, **dict(zip(SIGNALS, found.signals[at], strict=True))}
