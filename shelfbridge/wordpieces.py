"""The tokeniser of a release, without the training libraries around it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from shelfbridge.contract import MAX_QUERY_TOKENS, PAIR_TOKENS, PRODUCT_TOKENS
from shelfbridge.errors import ArtefactError


class WordPieces:
    """Text to word pieces, as the encoder and the cross-encoder were trained on."""

    def __init__(self, file: Path) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise ArtefactError(f"{file} is not a tokenizer file ({error}); build the release again") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def queries(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids and mask, int64 [B, S] each, padded to the longest of these, cut at `MAX_QUERY_TOKENS`."""
        return self._batch(texts, MAX_QUERY_TOKENS)

    def products(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As `queries`, cut at `PRODUCT_TOKENS`."""
        return self._batch(texts, PRODUCT_TOKENS)

    def pieces(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Word pieces of each product for the cross-encoder: [SEP] at the end, no [CLS]."""
        encoded = self._tokenizer.encode_batch_fast(list(texts))
        cut = (np.array(one.ids[1:], np.int64) for one in encoded)
        return [ids if len(ids) <= PAIR_TOKENS else np.append(ids[: PAIR_TOKENS - 1], ids[-1]) for ids in cut]

    def _batch(self, texts: Sequence[str], most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = [one.ids for one in self._tokenizer.encode_batch_fast(list(texts))]
        rows = [ids if len(ids) <= most else [*ids[: most - 1], ids[-1]] for ids in rows]
        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        mask = np.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
            mask[place, : len(row)] = 1
        return ids, mask
