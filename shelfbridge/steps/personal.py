"""Last step of a personal search: the ranker's order, moved by who asks; then as `postprocess` answers."""

from shelfbridge.contract import CANDIDATE_ROWS, REQUEST, SCORES, SHELF_SCORES, SHOPPER
from shelfbridge.release import Snapshot
from shelfbridge.request import SearchRequest
from shelfbridge.shelf.arrange import blend
from shelfbridge.shelf.shopper import load
from shelfbridge.steps.postprocess import best_hits, step_times
from shelfbridge.steps.step import Inputs, Outputs, Step


class Personal(Step):
    """The end of `search_personal`."""

    name = "personal"
    reads = ("store",)

    def answer(self, inputs: Inputs, now: Snapshot) -> Outputs:
        """As `Step.answer`."""
        request = SearchRequest.model_validate_json(inputs.value(REQUEST))
        rows, scores = inputs[CANDIDATE_ROWS], inputs[SCORES]
        if load(inputs.value(SHOPPER)).known:
            scores = blend(scores, inputs[SHELF_SCORES][: len(rows)], rows >= 0)
        return best_hits(request, rows, scores, now.store) | step_times(inputs)
