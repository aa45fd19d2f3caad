"""What filters look at, as columns: category, brand, price, stock."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shelfbridge.catalogue import Product
from shelfbridge.request import Filters
from shelfbridge.retrieval.names import Names
from shelfbridge.retrieval.ragged import Ragged, check_lengths, load
from shelfbridge.text import normalise

_NARROW = 8
"""A condition that leaves at most one product in so many is looked at before the others."""
_NOTHING = (Filters(), Filters(in_stock=False))
"""Filters that every product passes."""


@dataclass(frozen=True)
class Groups:
    """The products of each category or brand."""

    names: Names
    rows: Ragged

    def of(self, name: str) -> NDArray[np.int32]:
        """Rows in order; none where no product is of that name."""
        number = self.names.find(normalise(name).casefold())
        return self.rows[number] if number >= 0 else np.zeros(0, np.int32)

    @staticmethod
    def write(folder: Path, name: str, groups: dict[str, list[int]]) -> None:
        """Write the rows of each name."""
        Names.write(folder, f"{name}_names", list(groups))
        Ragged.write(folder, name, [np.array(rows, np.int32) for rows in groups.values()])

    @classmethod
    def open(cls, folder: Path, name: str) -> "Groups":
        """Map what `write` wrote.

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        return cls(Names.open(folder, f"{name}_names"), Ragged.open(folder, name))


@dataclass(frozen=True)
class Facets:
    """Columns over all products, memory-mapped. Prices and stocks that are not known are NaN."""

    category: Groups
    brand: Groups
    price: NDArray[np.float32]
    stock: NDArray[np.float32]
    by_price: NDArray[np.int32]
    """Rows with a price, cheapest first."""

    def allowed(self, filters: Filters) -> NDArray[np.bool_] | None:
        """Which products pass, [N]; None where the filters ask for nothing.

        Where a condition leaves few products, only those are held against the others: what a narrow filter costs in a
        large catalogue is little more than an array of zeros.
        """
        if filters in _NOTHING:
            return None
        size = len(self.price)
        named = ((filters.category, self.category), (filters.brand, self.brand))
        groups = [members.of(wanted) for wanted, members in named if wanted is not None]
        rows = min([*groups, self._priced(filters)], key=len)
        if len(rows) * _NARROW > size:
            return self._pass(filters, slice(None), [_mask(group, size) for group in groups])
        passing = np.zeros(size, bool)
        passing[rows] = self._pass(filters, rows, [_among(group, rows) for group in groups])
        return passing

    def _priced(self, filters: Filters) -> NDArray[np.int32]:
        """Rows within the price bounds; all rows, in any order, where there are none."""
        low, high = filters.price_min, filters.price_max
        if low is None and high is None:
            return np.broadcast_to(np.int32(0), self.price.shape)
        prices = self.price.__getitem__
        with np.errstate(over="ignore"):  # a bound beyond float32 is infinite
            begin = 0 if low is None else bisect_left(self.by_price, np.float32(low), key=prices)
            end = len(self.by_price) if high is None else bisect_right(self.by_price, np.float32(high), key=prices)
        return self.by_price[begin:end]

    def _pass(
        self, filters: Filters, at: slice | NDArray[np.int32], groups: list[NDArray[np.bool_]]
    ) -> NDArray[np.bool_]:
        price = self.price[at]
        passing = np.ones(len(price), bool)
        for held in groups:
            passing &= held
        if filters.price_min is not None:
            passing &= price >= filters.price_min
        if filters.price_max is not None:
            passing &= price <= filters.price_max
        if filters.in_stock:
            passing &= self.stock[at] != 0
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
        for name, rows in groups.items():
            Groups.write(folder, name, rows)
        price = np.array([product.price for product in products], np.float32)
        order = np.argsort(price, kind="stable")[: np.count_nonzero(~np.isnan(price))]
        np.save(folder / "price.npy", price)
        np.save(folder / "by_price.npy", order.astype(np.int32))
        np.save(folder / "stock.npy", np.array([product.stock for product in products], np.float32))

    @classmethod
    def open(cls, folder: Path) -> "Facets":
        """Map what `write` wrote.

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        columns = [load(folder / f"{name}.npy").view(np.ndarray) for name in ("price", "stock", "by_price")]
        check_lengths(folder, {"price": len(columns[0]), "stock": len(columns[1])})
        return cls(Groups.open(folder, "category"), Groups.open(folder, "brand"), *columns)


def _mask(rows: NDArray[np.int32], size: int) -> NDArray[np.bool_]:
    held = np.zeros(size, bool)
    held[rows] = True
    return held


def _among(members: NDArray[np.int32], rows: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which rows are members; these are in order."""
    if not len(members):
        return np.zeros(len(rows), bool)
    found: NDArray[np.bool_] = members.take(members.searchsorted(rows), mode="clip") == rows
    return found
