"""Product ids and payloads by row, for the answer."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shelfbridge.catalogue import Product
from shelfbridge.retrieval.joined import JoinedRagged
from shelfbridge.retrieval.names import Names
from shelfbridge.retrieval.ragged import Ragged

PAYLOAD_FIELDS = {"title", "brand", "color", "category", "price", "stock", "rating", "rating_count"}
"""What an answer may show of a product; the long texts stay out of it."""


@dataclass(frozen=True)
class ProductStore:
    """Ids and ready-made JSON payloads, memory-mapped."""

    _ids: Ragged
    _payloads: Ragged

    def __len__(self) -> int:
        return len(self._ids)

    def ids(self, rows: Iterable[int]) -> list[str]:
        """Product id of each row."""
        return [self._ids[row].tobytes().decode() for row in rows]

    def payloads(self, rows: Iterable[int]) -> list[bytes]:
        """JSON object of each row: `PAYLOAD_FIELDS`, without those that are not known."""
        return [self._payloads[row].tobytes() for row in rows]

    def with_changes(self, folder: Path) -> "ProductStore":
        """This and the store of products that came later (`shelfbridge.changes`).

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        later = ProductStore.open(folder)
        return ProductStore(JoinedRagged.of(self._ids, later._ids), JoinedRagged.of(self._payloads, later._payloads))

    @staticmethod
    def numbers(folder: Path) -> Names:
        """The rows of product ids.

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        return Names.open(folder, "ids")

    @staticmethod
    def write(folder: Path, products: Sequence[Product]) -> None:
        """Write ids and payloads of all products."""
        folder.mkdir(parents=True, exist_ok=True)
        Names.write(folder, "ids", [product.product_id for product in products])
        Ragged.write(folder, "payloads", [np.frombuffer(_payload(p), np.uint8) for p in products])

    @classmethod
    def open(cls, folder: Path) -> "ProductStore":
        """Map what `write` wrote.

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        return cls(Ragged.open(folder, "ids"), Ragged.open(folder, "payloads"))


def _payload(product: Product) -> bytes:
    fields = product.model_dump(include=PAYLOAD_FIELDS, exclude_defaults=True)
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
