"""Seventh step of `search_personal`: what the shelf's ranker is told of the candidates that a query has found."""

from collections.abc import Hashable
from pathlib import Path

import numpy as np

from shelfbridge.contract import (
    CANDIDATE_ROWS,
    SHELF_CANDIDATES,
    SHELF_SIGNALS,
    SHELF_SIGNALS_TENSOR,
    SHOPPER,
    USER_VECTOR,
)
from shelfbridge.profiles.access import Access
from shelfbridge.retrieval import Changing
from shelfbridge.shelf.assortment import Assortment, folder_of
from shelfbridge.shelf.demand import LiveDemand
from shelfbridge.shelf.shopper import load
from shelfbridge.shelf.signals import padded, signals
from shelfbridge.steps import Inputs, Outputs, Step


class TritonPythonModel(Step):
    def open(self, folder: Path) -> None:
        self.assortment = Changing(Assortment, folder_of(folder))
        access = Access.open()
        self.live = LiveDemand(access.store.popular, access.clock)

    def state(self) -> Hashable:
        return self.assortment.generation()

    def answer(self, inputs: Inputs) -> Outputs:
        assortment, rows = self.assortment.now(), inputs[CANDIDATE_ROWS]
        found = assortment.rows_of(rows[rows >= 0]).astype(rows.dtype)  # padding stands behind them
        sold = found >= 0  # one may have gone since the query found it
        shopper = load(inputs.value(SHOPPER))
        table = np.zeros((len(found), len(SHELF_SIGNALS)), np.float32)
        table[sold] = signals(shopper, inputs[USER_VECTOR], found[sold], assortment, self.live.now(assortment))
        return {SHELF_SIGNALS_TENSOR: padded(table, SHELF_CANDIDATES)}
