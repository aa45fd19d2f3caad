"""Last step of a search: the best `k` products with their ids, scores and payloads, and where the time went.

`best_hits`, `hits` and `step_times` end the other pipelines too.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfbridge.contract import CANDIDATE_ROWS, HIT_SCORES, PAYLOAD, PRODUCT_IDS, REQUEST, SCORES, STEP_TIMES
from shelfbridge.release import Snapshot
from shelfbridge.request import SearchRequest
from shelfbridge.retrieval import ProductStore
from shelfbridge.steps.step import Inputs, Outputs, Step, strings


class Postprocess(Step):
    """From scored candidates to what the caller gets."""

    name = "postprocess"
    reads = ("store",)

    def answer(self, inputs: Inputs, now: Snapshot) -> Outputs:
        """As `Step.answer`."""
        request = SearchRequest.model_validate_json(inputs.value(REQUEST))
        return best_hits(request, inputs[CANDIDATE_ROWS], inputs[SCORES], now.store) | step_times(inputs)


def best_hits(
    request: SearchRequest, rows: NDArray[np.int32], scores: NDArray[np.float32], store: ProductStore
) -> Outputs:
    """Return the best `k` products, ties by row.

    Args:
        request: what is asked.
        rows: of the index, -1 for padding, int32 [C].
        scores: of the candidates, float32 [C].
        store: ids and payloads.
    """
    best = order(rows, scores)[: request.k]
    best = best[rows[best] >= 0]
    return hits(rows[best], scores[best], store, with_payload=request.with_payload)


def order(rows: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.int64]:
    """Return the places of candidates, best first, ties by row, padding (row -1) last: int64 [C]."""
    places: NDArray[np.int64] = np.lexsort((rows, -scores, rows < 0))
    return places


def hits(rows: NDArray[Any], scores: NDArray[np.float32], store: ProductStore, *, with_payload: bool) -> Outputs:
    """Return the ids, scores and, where they are asked for, payloads of products in their order."""
    numbers = rows.tolist()
    return {
        PRODUCT_IDS: strings(store.ids(numbers)),
        HIT_SCORES: scores,
        PAYLOAD: strings(store.payloads(numbers) if with_payload else []),
    }


def step_times(inputs: Inputs) -> Outputs:
    """Return where the time went, this step the last."""
    return {STEP_TIMES: (np.diff(inputs.timeline()) / 1e6).astype(np.float32)}
