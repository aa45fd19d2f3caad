"""First step: refuse what is not a query, normalise and tokenise the rest.

Everything a caller sends is checked here and only here; the later steps trust `request`.
"""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from shelfbridge.contract import (
    ATTENTION_MASK,
    DEFAULT_K,
    FILTERS,
    INPUT_IDS,
    MAX_QUERY_TOKENS,
    QUERY,
    REQUEST,
    USER,
    WITH_PAYLOAD,
    K,
)
from shelfbridge.errors import InvalidQuery
from shelfbridge.request import Filters, SearchRequest, check_k
from shelfbridge.steps import Inputs, Outputs, Step, strings
from shelfbridge.text import check_query

BUCKET = 8
"""Lengths are rounded up to a multiple of this: Triton joins requests of equal shapes only, and at most eight
shapes are worth an engine's or an allocator's memory."""
MAX_USER_BYTES = 256


class TritonPythonModel(Step):
    def open(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(MAX_QUERY_TOKENS)
        self.tokenizer.no_padding()

    def answer(self, inputs: Inputs) -> Outputs:
        text = check_query(inputs.value(QUERY))
        request = SearchRequest(
            text=text,
            k=check_k(inputs.value(K, DEFAULT_K)),
            filters=Filters.parse(inputs.value(FILTERS) or b"{}"),
            user=check_user(inputs.value(USER)),
            with_payload=inputs.value(WITH_PAYLOAD, False),
        )
        ids = self.tokenizer.encode(text).ids
        length = min(-len(ids) // BUCKET * -BUCKET, MAX_QUERY_TOKENS)
        pieces = np.zeros((2, length), np.int64)
        pieces[0, : len(ids)] = ids
        pieces[1, : len(ids)] = 1
        return {
            REQUEST: strings([request.model_dump_json()]),
            INPUT_IDS: pieces[0],
            ATTENTION_MASK: pieces[1],
        }


def check_user(raw: bytes | None) -> str | None:
    """The caller's user, an opaque key.

    Raises:
        InvalidQuery: not UTF-8, or longer than `MAX_USER_BYTES`.
    """
    if not raw:
        return None
    if len(raw) > MAX_USER_BYTES:
        raise InvalidQuery(f"user is {len(raw)} bytes long; send at most {MAX_USER_BYTES}")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidQuery(f"user is not UTF-8 (byte {error.start}); encode it as UTF-8") from error
