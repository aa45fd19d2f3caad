"""Seventh step of `search_personal`: what the shelf's ranker is told of the candidates that a query has found."""

import numpy as np

from shelfbridge.contract import (
    CANDIDATE_ROWS,
    SHELF_CANDIDATES,
    SHELF_SIGNALS,
    SHELF_SIGNALS_TENSOR,
    SHOPPER,
    USER_VECTOR,
)
from shelfbridge.release import Snapshot
from shelfbridge.shelf.shopper import load
from shelfbridge.shelf.signals import padded, signals
from shelfbridge.steps.step import Inputs, Outputs, Step


class Taste(Step):
    """A query's candidates as a shelf's."""

    name = "taste"
    reads = ("assortment",)

    def answer(self, inputs: Inputs, now: Snapshot) -> Outputs:
        """As `Step.answer`."""
        assortment, rows = now.assortment, inputs[CANDIDATE_ROWS]
        found = assortment.rows_of(rows[rows >= 0]).astype(rows.dtype)  # padding stands behind them
        sold = found >= 0  # where steps are apart, one may have gone since the query found it
        shopper, demand = load(inputs.value(SHOPPER)), self.services.demand.now(assortment)
        table = np.zeros((len(found), len(SHELF_SIGNALS)), np.float32)
        table[sold] = signals(shopper, inputs[USER_VECTOR], found[sold], assortment, demand)
        return {SHELF_SIGNALS_TENSOR: padded(table, SHELF_CANDIDATES)}
