"""Last step of a shelf: its products in their order, a few of them to be tried out, and where the time went."""

from shelfbridge.contract import (
    EXPLORED,
    SHELF_REQUEST,
    SHELF_ROWS,
    SHELF_SCORES,
    SHELF_SIGNALS,
    SHELF_SIGNALS_TENSOR,
    SHOWN,
)
from shelfbridge.release import Snapshot
from shelfbridge.shelf.arrange import arrange, falling
from shelfbridge.shelf.request import ShelfRequest
from shelfbridge.steps.postprocess import hits, step_times
from shelfbridge.steps.step import Inputs, Outputs, Step, strings

POPULAR = SHELF_SIGNALS.index("popular")


class Shelf(Step):
    """From scored candidates to a shelf."""

    name = "shelf"
    reads = ("assortment",)

    def answer(self, inputs: Inputs, now: Snapshot) -> Outputs:
        """As `Step.answer`."""
        request = ShelfRequest.model_validate_json(inputs.value(SHELF_REQUEST))
        assortment = now.assortment
        there = assortment.sells(inputs[SHELF_ROWS])  # also since the candidates were gathered
        rows = inputs[SHELF_ROWS][there]
        # What is popular needs no ranker: it is the same for all
        popular = request.kind == "popular"
        scores = inputs[SHELF_SIGNALS_TENSOR][there, POPULAR] if popular else inputs[SHELF_SCORES][there]
        places, explored = arrange(scores, assortment.texts[rows], request.k, request.seed)
        shown = assortment.index_rows(rows[places])
        return (
            hits(shown, falling(scores[places], explored), assortment.store, with_payload=request.with_payload)
            | {SHOWN: strings([request.kind]), EXPLORED: explored}
            | step_times(inputs)
        )
