"""The end of every ensemble that answers a query: from scored candidates to what its caller gets."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfbridge.contract import HIT_SCORES, PAYLOAD, PRODUCT_IDS, STEP_TIMES
from shelfbridge.request import SearchRequest
from shelfbridge.retrieval import ProductStore
from shelfbridge.steps import Inputs, Outputs, strings


def best_hits(
    request: SearchRequest, rows: NDArray[np.int32], scores: NDArray[np.float32], store: ProductStore
) -> Outputs:
    """The best `k` products, ties by row.

    Args:
        request: what is asked.
        rows: of the index, -1 for padding [C].
        scores: of the candidates [C].
        store: ids and payloads.
    """
    best = np.lexsort((rows, -scores, rows < 0))[: request.k]
    best = best[rows[best] >= 0]
    return hits(rows[best], scores[best], store, with_payload=request.with_payload)


def hits(rows: NDArray[Any], scores: NDArray[np.float32], store: ProductStore, *, with_payload: bool) -> Outputs:
    """The ids, scores and, where they are asked for, payloads of products in their order."""
    numbers = rows.tolist()
    return {
        PRODUCT_IDS: strings(store.ids(numbers)),
        HIT_SCORES: scores,
        PAYLOAD: strings(store.payloads(numbers) if with_payload else []),
    }


def step_times(inputs: Inputs) -> Outputs:
    """Where the time went, this step the last."""
    return {STEP_TIMES: (np.diff(inputs.timeline()) / 1e6).astype(np.float32)}
