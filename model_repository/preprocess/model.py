"""First step: refuse what is not a query, normalise and tokenise the rest.

Everything a caller sends is checked here and only here; the later steps trust `request`.
"""

from pathlib import Path

from shelfbridge.contract import (
    ATTENTION_MASK,
    DEFAULT_K,
    FILTERS,
    INPUT_IDS,
    QUERY,
    REQUEST,
    USER,
    WITH_PAYLOAD,
    K,
)
from shelfbridge.lengths import padded
from shelfbridge.profiles.access import check_user
from shelfbridge.request import Filters, SearchRequest, check_k
from shelfbridge.steps import Inputs, Outputs, Step, strings
from shelfbridge.text import check_query
from shelfbridge.wordpieces import WordPieces


class TritonPythonModel(Step):
    def open(self, folder: Path) -> None:
        self.words = WordPieces(folder / "tokenizer.json")

    def answer(self, inputs: Inputs) -> Outputs:
        text = check_query(inputs.value(QUERY))
        check_user(inputs.value(USER))
        request = SearchRequest(
            text=text,
            k=check_k(inputs.value(K, DEFAULT_K)),
            filters=Filters.parse(inputs.value(FILTERS) or b"{}"),
            with_payload=inputs.value(WITH_PAYLOAD, False),
        )
        ids, mask = self.words.queries([text])
        return {
            REQUEST: strings([request.model_dump_json()]),
            INPUT_IDS: padded(ids[0]),
            ATTENTION_MASK: padded(mask[0]),
        }
