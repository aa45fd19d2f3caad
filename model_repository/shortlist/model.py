"""Fifth step of `search_deep`: order the candidates and pair the best with the query for the cross-encoder."""

from collections.abc import Hashable
from pathlib import Path

from shelfbridge.contract import (
    ATTENTION_MASK,
    CANDIDATE_ROWS,
    INPUT_IDS,
    PAIR_IDS,
    PAIR_MASK,
    PAIR_TYPES,
    SCORES,
    SORTED_ROWS,
    SORTED_SCORES,
)
from shelfbridge.retrieval import Changing, ProductPairs
from shelfbridge.steps import Inputs, Outputs, Step


class TritonPythonModel(Step):
    def open(self, folder: Path) -> None:
        self.products = Changing(ProductPairs, folder)

    def state(self) -> Hashable:
        return self.products.generation()

    def answer(self, inputs: Inputs) -> Outputs:
        shortlist = self.products.now().shortlist(
            inputs[INPUT_IDS], inputs[ATTENTION_MASK], inputs[CANDIDATE_ROWS], inputs[SCORES]
        )
        return {
            PAIR_IDS: shortlist.pair_ids,
            PAIR_TYPES: shortlist.pair_types,
            PAIR_MASK: shortlist.pair_mask,
            SORTED_ROWS: shortlist.rows,
            SORTED_SCORES: shortlist.scores,
        }
