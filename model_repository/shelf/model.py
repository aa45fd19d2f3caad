"""Last step of a shelf: its products in their order, a few of them to be tried out, and where the time went."""

from collections.abc import Hashable
from pathlib import Path

from shelfbridge.answer import hits, step_times
from shelfbridge.contract import (
    EXPLORED,
    SHELF_REQUEST,
    SHELF_ROWS,
    SHELF_SCORES,
    SHELF_SIGNALS,
    SHELF_SIGNALS_TENSOR,
    SHOWN,
)
from shelfbridge.retrieval import Changing
from shelfbridge.shelf.arrange import arrange, falling
from shelfbridge.shelf.assortment import Assortment, folder_of
from shelfbridge.shelf.request import ShelfRequest
from shelfbridge.steps import Inputs, Outputs, Step, strings

POPULAR = SHELF_SIGNALS.index("popular")


class TritonPythonModel(Step):
    def open(self, folder: Path) -> None:
        self.assortment = Changing(Assortment, folder_of(folder))

    def state(self) -> Hashable:
        return self.assortment.generation()

    def answer(self, inputs: Inputs) -> Outputs:
        request = ShelfRequest.model_validate_json(inputs.value(SHELF_REQUEST))
        assortment = self.assortment.now()
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
