"""Last step of a personal search: the ranker's order, moved by who asks; then as `postprocess` answers."""

from collections.abc import Hashable
from pathlib import Path

import numpy as np

from shelfbridge.answer import best_hits, step_times
from shelfbridge.contract import CANDIDATE_ROWS, REQUEST, SCORES, SHOPPER, USER_VECTOR
from shelfbridge.request import SearchRequest
from shelfbridge.retrieval import Changing
from shelfbridge.shelf.assortment import Assortment, folder_of
from shelfbridge.shelf.personal import blend
from shelfbridge.shelf.shopper import load
from shelfbridge.steps import Inputs, Outputs, Step


class TritonPythonModel(Step):
    def open(self, folder: Path) -> None:
        self.assortment = Changing(Assortment, folder_of(folder))

    def state(self) -> Hashable:
        return self.assortment.generation()

    def answer(self, inputs: Inputs) -> Outputs:
        request = SearchRequest.model_validate_json(inputs.value(REQUEST))
        assortment, rows, scores = self.assortment.now(), inputs[CANDIDATE_ROWS], inputs[SCORES]
        if load(inputs.value(SHOPPER)).known:
            there = rows >= 0
            affinities = np.zeros(len(rows), np.float32)
            affinities[there] = assortment.vectors[assortment.rows_of(rows[there])] @ inputs[USER_VECTOR]
            scores = blend(scores, affinities, there)
        return best_hits(request, rows, scores, assortment.store) | step_times(inputs)
