"""Fifth step of `search_deep`: order the candidates, and pair the best with the query for the cross-encoder."""

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
from shelfbridge.release import Snapshot
from shelfbridge.steps.step import Inputs, Outputs, Step


class Shortlist(Step):
    """What the cross-encoder reads."""

    name = "shortlist"
    reads = ("pairs",)

    def answer(self, inputs: Inputs, now: Snapshot) -> Outputs:
        """As `Step.answer`."""
        best = now.pairs.shortlist(inputs[INPUT_IDS], inputs[ATTENTION_MASK], inputs[CANDIDATE_ROWS], inputs[SCORES])
        return {
            PAIR_IDS: best.pair_ids,
            PAIR_TYPES: best.pair_types,
            PAIR_MASK: best.pair_mask,
            SORTED_ROWS: best.rows,
            SORTED_SCORES: best.scores,
        }
