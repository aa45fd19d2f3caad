"""The cross-encoder's input: the query's word pieces beside those of the best candidates, tokenised at build time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfbridge.contract import PAIR_TOKENS, SHORTLIST
from shelfbridge.retrieval.joined import JoinedRagged
from shelfbridge.retrieval.ragged import Ragged


@dataclass(frozen=True)
class Shortlist:
    """Candidates in the ranker's order, and the pairs of the first `SHORTLIST`.

    pair_ids, pair_types, pair_mask: int64 [SHORTLIST, L]; rows: int32 [C]; scores: float32 [C].
    """

    pair_ids: NDArray[np.int64]
    pair_types: NDArray[np.int64]
    pair_mask: NDArray[np.int64]
    rows: NDArray[np.int32]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class ProductPairs:
    """Word pieces of every product, [SEP] at the end, without [CLS]."""

    _pieces: Ragged

    def __len__(self) -> int:
        return len(self._pieces)

    def shortlist(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        rows: NDArray[np.int32],
        scores: NDArray[np.float32],
    ) -> Shortlist:
        """Order the candidates and pair the best with the query.

        Args:
            input_ids: int64 [S], the query as the encoder read it ([CLS] … [SEP], then padding).
            attention_mask: int64 [S].
            rows: int32 [C]; -1 is padding and goes last.
            scores: float32 [C].
        """
        order = np.lexsort((rows, -scores, rows < 0))
        rows, scores = rows[order], scores[order]
        ids, types, mask = self.pair(input_ids[attention_mask == 1], rows[:SHORTLIST])
        return Shortlist(ids, types, mask, rows, scores)

    def pair(
        self, query: NDArray[np.int64], rows: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Ids, types and mask, int64 [R, L] each, of a query's word pieces int64 [S] with each product."""
        products, lengths = self._pieces.padded(rows)
        room = PAIR_TOKENS - len(query)
        width = min(room, products.shape[1])
        columns = np.arange(width)
        mask = np.ones((len(rows), len(query) + width), np.int64)
        mask[:, len(query) :] = columns < lengths[:, None]
        ids = np.empty_like(mask)
        ids[:, : len(query)] = query
        ids[:, len(query) :] = products[:, :width]
        types = np.zeros_like(mask)
        types[:, len(query) :] = mask[:, len(query) :]
        return ids, types, mask

    def with_changes(self, folder: Path) -> "ProductPairs":
        """These and the pieces of products that came later (`shelfbridge.changes`).

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        return ProductPairs(JoinedRagged.of(self._pieces, ProductPairs.open(folder)._pieces))

    @staticmethod
    def write(folder: Path, pieces: Sequence[NDArray[Any]]) -> None:
        """Write the word pieces of each product."""
        folder.mkdir(parents=True, exist_ok=True)
        Ragged.write(folder, "pieces", [np.asarray(row, np.int32) for row in pieces])

    @classmethod
    def open(cls, folder: Path) -> "ProductPairs":
        """Map what `write` wrote.

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        return cls(Ragged.open(folder, "pieces"))
