"""What a shelf's steps read of the products as they are now: the release's, and those that came later.

A product keeps one row here whatever happens to its texts and prices: the row it has in the release, or the next free
one where it came later (`shelfbridge.changes`). That of the index, which changes with its texts, is looked up too.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfbridge.request import Filters
from shelfbridge.retrieval import Columns, ProductStore
from shelfbridge.retrieval.facets import Facets
from shelfbridge.retrieval.names import Names
from shelfbridge.retrieval.ragged import check_lengths, load
from shelfbridge.retrieval.vectors import Vectors
from shelfbridge.shelf.products import ShelfProducts
from shelfbridge.shelf.signals import Allowed, Demand, Floats, Known, Neighbours, Rows, best

GONE = -1


@dataclass(frozen=True, eq=False)
class Assortment(Known):
    """`signals.Known` of N products, and what a shelf shows of them.

    The prices are as the catalogue has them now, which are those that filters look at; what is gone keeps its last.
    """

    products: ShelfProducts
    columns: Columns
    """Of the index."""
    store: ProductStore
    row: Callable[[str], int]
    """The row of a product id, -1 if there is none."""
    demand: Demand
    """When the release was made; 0 of what came later."""
    later: Floats
    """Vectors of products that came later [M, W]."""
    here: NDArray[np.int64] | None = None
    """Row here of each row of the index, `GONE` where it is not sold any more; None as `indexed`."""
    indexed: NDArray[np.int64] | None = None
    """Row in the index of each, `GONE` where it is sold no more [N]; None where all are as in the release."""

    def __len__(self) -> int:
        return len(self.prices)

    def nearest(self, user: Floats, most: int, allowed: Allowed) -> NDArray[np.int64]:
        """As `signals.Known.nearest`."""
        base = len(self) - len(self.later)
        found = self.products.vectors.search(user, most, None if allowed is None else allowed[:base])
        if not len(self.later):
            return found
        scores = np.concatenate([self.products.vectors.fetch(found) @ user, self.later @ user])
        rows = np.concatenate([found, np.arange(base, len(self))])
        kept = np.ones(len(rows), bool) if allowed is None else allowed[rows]
        nearest: NDArray[np.int64] = rows[best(scores, most, kept)]
        return nearest

    def alike(self, row: int, most: int, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Rows of the products whose texts are nearest to a product's, at most so many."""
        at = self.index_rows(np.array([row]))
        if at[0] == GONE:
            return at[:0]
        passing = allowed
        if self.indexed is not None:
            passing = np.zeros(len(self.columns.vectors), bool)
            passing[self.indexed[allowed]] = True
        return self.rows_of(self.columns.vectors.search(self.columns.vectors.fetch(at)[0], most, passing))

    def allowed(self, filters: Filters) -> NDArray[np.bool_]:
        """Which products may be shown [N]: those that pass the filters, are sold, and, unless the filters say
        otherwise, are in stock.
        """
        if filters.in_stock is None:
            filters = filters.model_copy(update={"in_stock": True})
        passing = self.columns.facets.allowed(filters)
        if self.indexed is None:
            return np.ones(len(self), bool) if passing is None else passing
        sold = self.indexed >= 0
        return sold if passing is None else sold & passing[self.indexed]

    def index_rows(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Rows of the index."""
        found: NDArray[np.int64] = rows.astype(np.int64) if self.indexed is None else self.indexed[rows]
        return found

    def sells(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Which rows [R] are products that are sold; padding is none."""
        known = (rows >= 0) & (rows < len(self))
        sold: NDArray[np.bool_] = known & (self.index_rows(np.where(known, rows, 0)) >= 0)
        return sold

    def rows_of(self, index_rows: NDArray[Any]) -> NDArray[np.int64]:
        """Rows here of rows of the index, `GONE` where one is not sold any more."""
        found: NDArray[np.int64] = index_rows.astype(np.int64) if self.here is None else self.here[index_rows]
        return found

    @classmethod
    def open(cls, folder: Path, columns: Columns, store: ProductStore, ids: Names) -> "Assortment":
        """Open a shelf's own files, beside what the release's index and store know, and the rows of its product ids.

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        products = ShelfProducts.open(folder)
        check_lengths(
            folder,
            {
                "index": len(columns),
                "store": len(store),
                "ids": len(ids),
                "vectors": len(products.vectors),
                "associated": len(products.associated.places),
                "companions": len(products.companions.places),
                "lately": len(products.demand.lately),
                "long": len(products.demand.long),
            },
        )
        return cls(
            products=products,
            columns=columns,
            store=store,
            row=ids.find,
            vectors=Rows(products.vectors.fetch),
            texts=Rows(columns.vectors.fetch),
            prices=columns.facets.price,
            associated=products.associated,
            companions=products.companions,
            demand=products.demand,
            later=np.zeros((0, len(products.projection.outer)), np.float32),
        )

    def with_changes(
        self, folder: Path, columns: Columns | None = None, store: ProductStore | None = None
    ) -> "Assortment":
        """Return this and a generation of changes as one.

        `columns` and `store` are the index's and the store with the same generation, where they are open already.

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        ids, base = Names.open(folder, "ids"), len(self.prices)
        columns = self.columns.with_changes(folder) if columns is None else columns
        facets = Facets.open(folder / "facets")
        indexed = np.arange(base)
        before = np.array([self.row(ids[number]) for number in range(len(ids))], np.int64)
        new = np.flatnonzero(before < 0)
        place = before.copy()
        place[new] = base + np.arange(len(new))
        gone = load(folder / "gone.npy")
        indexed[gone[gone < base]] = GONE
        indexed = np.pad(indexed, (0, len(new)), constant_values=GONE)
        there = np.setdiff1d(np.arange(len(ids)), gone[gone >= base] - base)
        indexed[place[there]] = base + there
        here = np.full(base + len(ids), GONE)
        here[indexed[indexed >= 0]] = np.flatnonzero(indexed >= 0)
        prices = np.pad(self.prices, (0, len(new)))
        prices[place] = facets.price
        vectors = self.products.projection(columns.vectors.fetch(base + new)) if len(new) else self.later
        rows = {ids[number]: int(place[number]) for number in new}

        def texts(some: NDArray[Any]) -> Floats:
            at = indexed[some]
            known: Floats = columns.vectors.fetch(np.maximum(at, 0)) * (at >= 0)[:, None]
            return known

        return replace(
            self,
            columns=columns,
            store=self.store.with_changes(folder) if store is None else store,
            row=lambda product_id: known if (known := self.row(product_id)) >= 0 else rows.get(product_id, -1),
            vectors=Rows(lambda some: _both(self.products.vectors, vectors, some)),
            texts=Rows(texts),
            prices=prices,
            associated=_with(self.associated, len(new)),
            companions=_with(self.companions, len(new)),
            demand=Demand(*(np.pad(one, (0, len(new))) for one in vars(self.demand).values())),
            later=vectors,
            here=here,
            indexed=indexed,
        )


def _both(base: Vectors, later: Floats, rows: NDArray[Any]) -> Floats:
    found = np.empty((len(rows), later.shape[1]), np.float32)
    new = rows >= len(base)
    found[new] = later[rows[new] - len(base)]
    found[~new] = base.fetch(rows[~new])
    return found


def _with(neighbours: Neighbours, more: int) -> Neighbours:
    """As many products more, of which nothing is known."""
    return replace(neighbours, places=np.pad(neighbours.places, (0, more), constant_values=-1))
