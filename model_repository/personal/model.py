"""Last step of a personal search: the ranker's order, moved by who asks; then as `postprocess` answers."""

from collections.abc import Hashable
from pathlib import Path

from shelfbridge.answer import best_hits, step_times
from shelfbridge.contract import CANDIDATE_ROWS, REQUEST, SCORES, SHELF_SCORES, SHOPPER
from shelfbridge.request import SearchRequest
from shelfbridge.retrieval import Changing, ProductStore
from shelfbridge.shelf.personal import blend
from shelfbridge.shelf.shopper import load
from shelfbridge.steps import Inputs, Outputs, Step


class TritonPythonModel(Step):
    def open(self, folder: Path) -> None:
        self.store = Changing(ProductStore, folder_of(folder))

    def state(self) -> Hashable:
        return self.store.generation()

    def answer(self, inputs: Inputs) -> Outputs:
        request = SearchRequest.model_validate_json(inputs.value(REQUEST))
        rows, scores = inputs[CANDIDATE_ROWS], inputs[SCORES]
        if load(inputs.value(SHOPPER)).known:
            scores = blend(scores, inputs[SHELF_SCORES][: len(rows)], rows >= 0)
        return best_hits(request, rows, scores, self.store.now()) | step_times(inputs)


def folder_of(folder: Path) -> Path:
    """That of the ids and payloads, which `postprocess` has in the same release."""
    folder = folder.resolve()
    return folder.parent.parent / "postprocess" / folder.name
