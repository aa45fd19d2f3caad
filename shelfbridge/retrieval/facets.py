"""What filters look at, as columns: category, brand, price, stock."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfbridge.catalogue import Product
from shelfbridge.errors import ArtefactError
from shelfbridge.request import Filters
from shelfbridge.retrieval.ragged import load
from shelfbridge.text import normalise


@dataclass(frozen=True)
class Facets:
    """Columns over all products. Prices and stocks that are not known are NaN."""

    category: dict[str, NDArray[np.int32]]
    brand: dict[str, NDArray[np.int32]]
    price: NDArray[np.float32]
    stock: NDArray[np.float32]

    def allowed(self, filters: Filters) -> NDArray[np.bool_] | None:
        """Which products pass, [N]; None where the filters ask for nothing."""
        if filters == Filters():
            return None
        passing = np.ones(len(self.price), bool)
        for wanted, members in ((filters.category, self.category), (filters.brand, self.brand)):
            if wanted is not None:
                held = np.zeros(len(self.price), bool)
                held[members.get(normalise(wanted).casefold(), [])] = True
                passing &= held
        if filters.price_min is not None:
            passing &= self.price >= filters.price_min
        if filters.price_max is not None:
            passing &= self.price <= filters.price_max
        if filters.in_stock:
            passing &= self.stock != 0
        return passing

    @staticmethod
    def write(folder: Path, products: Sequence[Product]) -> None:
        """Write the columns."""
        groups: dict[str, dict[str, list[int]]] = {"category": {}, "brand": {}}
        for row, product in enumerate(products):
            for part in dict.fromkeys(part.casefold() for part in product.category):
                groups["category"].setdefault(part, []).append(row)
            if product.brand:
                groups["brand"].setdefault(product.brand.casefold(), []).append(row)
        folder.mkdir(parents=True)
        (folder / "groups.json").write_text(json.dumps(groups, ensure_ascii=False), encoding="utf-8")
        numbers = {"price": [p.price for p in products], "stock": [p.stock for p in products]}
        for name, values in numbers.items():
            np.save(folder / f"{name}.npy", np.array(values, np.float32))

    @classmethod
    def open(cls, folder: Path) -> "Facets":
        """Read what `write` wrote.

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        try:
            groups: dict[str, dict[str, Any]] = json.loads((folder / "groups.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArtefactError(f"{folder}/groups.json cannot be read ({error}); build the release again") from error
        category, brand = (
            {name: np.array(rows, np.int32) for name, rows in groups[kind].items()} for kind in ("category", "brand")
        )
        return cls(category, brand, load(folder / "price.npy"), load(folder / "stock.npy"))
