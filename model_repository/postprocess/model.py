"""Last step: the best `k` products with their ids, scores and payloads, and where the time went."""

from collections.abc import Hashable
from pathlib import Path

from shelfbridge.answer import best_hits, step_times
from shelfbridge.contract import CANDIDATE_ROWS, REQUEST, SCORES
from shelfbridge.request import SearchRequest
from shelfbridge.retrieval import Changing, ProductStore
from shelfbridge.steps import Inputs, Outputs, Step


class TritonPythonModel(Step):
    def open(self, folder: Path) -> None:
        self.store = Changing(ProductStore, folder)

    def state(self) -> Hashable:
        return self.store.generation()

    def answer(self, inputs: Inputs) -> Outputs:
        request = SearchRequest.model_validate_json(inputs.value(REQUEST))
        return best_hits(request, inputs[CANDIDATE_ROWS], inputs[SCORES], self.store.now()) | step_times(inputs)
