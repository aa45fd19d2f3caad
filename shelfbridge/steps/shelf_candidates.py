"""Third step of a shelf: from the shopper and their vector to candidates and what is known of each."""

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
from shelfbridge.release import Snapshot
from shelfbridge.services import Services
from shelfbridge.shelf.gather import gather
from shelfbridge.shelf.request import ShelfRequest
from shelfbridge.shelf.shopper import beside, load
from shelfbridge.shelf.signals import padded, signals
from shelfbridge.steps.step import Inputs, Outputs, Step


class ShelfCandidates(Step):
    """What a shelf is filled from."""

    name = "shelf_candidates"
    reads = ("assortment",)

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        faiss.omp_set_num_threads(1)  # as in retrieve

    def answer(self, inputs: Inputs, now: Snapshot) -> Outputs:
        """As `Step.answer`."""
        request = ShelfRequest.model_validate_json(inputs.value(SHELF_REQUEST))
        shopper, user = load(inputs.value(SHOPPER)), inputs[USER_VECTOR]
        assortment, demand = now.assortment, self.services.demand.now(now.assortment)
        found = gather(request, shopper, user, assortment, demand)
        known = shopper if request.with_row is None else beside(shopper, request.with_row)
        rows = np.full(SHELF_CANDIDATES, -1, np.int32)
        rows[: len(found)] = found
        table = signals(known, user, found, assortment, demand)
        return {SHELF_ROWS: rows, SHELF_SIGNALS_TENSOR: padded(table, SHELF_CANDIDATES)}
