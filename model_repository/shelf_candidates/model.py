"""Third step of a shelf: from the shopper and their vector to candidates and what is known of each."""

from collections.abc import Hashable
from pathlib import Path

import faiss
import numpy as np

from shelfbridge.contract import (
    SHELF_CANDIDATES,
    SHELF_REQUEST,
    SHELF_ROWS,
    SHELF_SIGNALS_TENSOR,
    SHOPPER,
    USER_VECTOR,
)
from shelfbridge.profiles.access import Access
from shelfbridge.retrieval import Changing
from shelfbridge.shelf.assortment import Assortment, folder_of
from shelfbridge.shelf.demand import LiveDemand
from shelfbridge.shelf.gather import gather
from shelfbridge.shelf.request import ShelfRequest
from shelfbridge.shelf.shopper import beside, load
from shelfbridge.shelf.signals import padded, signals
from shelfbridge.steps import Inputs, Outputs, Step


class TritonPythonModel(Step):
    def open(self, folder: Path) -> None:
        faiss.omp_set_num_threads(1)  # as in retrieve
        self.assortment = Changing(Assortment, folder_of(folder))
        access = Access.open()
        self.live = LiveDemand(access.store.popular, access.clock)

    def state(self) -> Hashable:
        return self.assortment.generation()

    def answer(self, inputs: Inputs) -> Outputs:
        request = ShelfRequest.model_validate_json(inputs.value(SHELF_REQUEST))
        shopper, user = load(inputs.value(SHOPPER)), inputs[USER_VECTOR]
        assortment = self.assortment.now()
        demand = self.live.now(assortment)
        found = gather(
            request.kind,
            shopper,
            user,
            assortment=assortment,
            demand=demand,
            allowed=assortment.allowed(request.filters),
            with_row=request.with_row,
        )
        known = shopper if request.with_row is None else beside(shopper, request.with_row)
        rows = np.full(SHELF_CANDIDATES, -1, np.int32)
        rows[: len(found)] = found
        table = signals(known, user, found, assortment, demand)
        return {SHELF_ROWS: rows, SHELF_SIGNALS_TENSOR: padded(table, SHELF_CANDIDATES)}
