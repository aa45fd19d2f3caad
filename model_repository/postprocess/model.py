"""Last step: the best `k` products with their ids, scores and payloads, and where the time went."""

from collections.abc import Hashable
from pathlib import Path

import numpy as np

from shelfbridge.contract import CANDIDATE_ROWS, HIT_SCORES, PAYLOAD, PRODUCT_IDS, REQUEST, SCORES, STEP_TIMES
from shelfbridge.request import SearchRequest
from shelfbridge.retrieval import Changing, ProductStore
from shelfbridge.steps import Inputs, Outputs, Step, strings


class TritonPythonModel(Step):
    def open(self, folder: Path) -> None:
        self.store = Changing(ProductStore, folder)

    def state(self) -> Hashable:
        return self.store.generation()

    def answer(self, inputs: Inputs) -> Outputs:
        request = SearchRequest.model_validate_json(inputs.value(REQUEST))
        rows, scores = inputs[CANDIDATE_ROWS], inputs[SCORES]
        best = np.lexsort((rows, -scores, rows < 0))[: request.k]
        best = best[rows[best] >= 0]
        rows = rows[best].tolist()
        store = self.store.now()
        answer = {
            PRODUCT_IDS: strings(store.ids(rows)),
            HIT_SCORES: scores[best],
            PAYLOAD: strings(store.payloads(rows) if request.with_payload else []),
        }
        return answer | {STEP_TIMES: (np.diff(inputs.timeline()) / 1e6).astype(np.float32)}
