"""Third step: from the query's text and vector to the candidates, their signals and their token vectors."""

from collections.abc import Hashable
from pathlib import Path

import faiss

from shelfbridge.contract import (
    CANDIDATE_COSINES,
    CANDIDATE_LENGTHS,
    CANDIDATE_ROWS,
    CANDIDATE_SIGNALS,
    CANDIDATE_TOKENS,
    EMBEDDING,
    REQUEST,
)
from shelfbridge.request import SearchRequest
from shelfbridge.retrieval import CandidateIndex, Changing
from shelfbridge.steps import Inputs, Outputs, Step


class TritonPythonModel(Step):
    def open(self, folder: Path) -> None:
        # One query at a time leaves other threads nothing but to spin: 6.7 ms of CPU a query with two, 1.4 with one
        faiss.omp_set_num_threads(1)
        self.index = Changing(CandidateIndex, folder)

    def state(self) -> Hashable:
        return self.index.generation()

    def answer(self, inputs: Inputs) -> Outputs:
        request = SearchRequest.model_validate_json(inputs.value(REQUEST))
        found = self.index.now().search(request.text, inputs[EMBEDDING], request.filters)
        return {
            CANDIDATE_ROWS: found.rows,
            CANDIDATE_SIGNALS: found.signals,
            CANDIDATE_TOKENS: found.tokens,
            CANDIDATE_LENGTHS: found.lengths,
            CANDIDATE_COSINES: found.cosines,
        }
