"""The best products for some terms, without a look at all products.

Frequent terms have long lists and say little. Where the lists are long, the short ones are read first; once no product
outside them can be among the best, the long ones are only searched for those that can (MaxScore: Turtle & Flood 1995).
The answer is exact to the last bit: what can be among the best is added up again, in the query's order.
"""

import threading
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shelfbridge.retrieval.lexical import UNSEEN, LexicalIndex, Postings

LONG = 1 << 15
"""Postings of a query beyond which leaving some unread pays for the bookkeeping."""
SLACK = 1e-5
"""What sums of float32 in another order may differ by, relatively, and more."""
_LARGE = 1 << 16
"""Products from which on an array of them is kept for the next search."""
_SEARCHED = 24
"""Postings read in the time in which one product is searched for in a list."""
_GATHERED = 12
"""Products gone through in the time in which one is gathered from a list."""
_TINY = np.float32(1e-6)
_kept = threading.local()

Sums = NDArray[np.float32]
Allowed = NDArray[np.bool_] | None


def best(
    index: LexicalIndex, fields: Sequence[int], terms: Sequence[int], depth: int, allowed: Allowed = None
) -> NDArray[np.int64]:
    """Rows by BM25, best first, ties by row, at most `depth`, none without a term.

    Of several fields, each counts as a share of its best product's, whether that one is allowed or not.

    Args:
        fields: numbers of the fields to look in.
        terms: numbers of distinct terms.
        allowed: which rows may be answered, [N].
    """
    lists = {term: [index.postings(field, term) for field in fields] for term in terms if term != UNSEEN}
    lists = {term: postings for term, postings in lists.items() if _length(postings)}
    board = _Board.of(len(fields), index.size)
    try:
        if sum(map(_length, lists.values())) > LONG:
            in_turn = dict(sorted(lists.items(), key=lambda item: _length(item[1])))
            rows = _contending(index, fields, in_turn, board, depth=depth, allowed=allowed)
            return _top(shares(index.look_up(fields, terms, rows.astype(np.int32)).bm25()), rows, depth, allowed)
        for postings in lists.values():
            board.add(postings)
        if board.full:
            return _top(shares(board.sums), None, depth, allowed)
        rows = np.sort(board.touched())
        return _top(shares(board.sums.take(rows, axis=1)), rows, depth, allowed)
    finally:
        board.clear()


class _Board:
    """Sums of each field over all products, [F, N], list by list."""

    def __init__(self, fields: int, size: int) -> None:
        self.sums = np.zeros((fields, size), np.float32)
        self._places = np.empty(size, np.int32)
        self._rows: list[tuple[int, NDArray[np.intp]]] = []

    @classmethod
    def of(cls, fields: int, size: int) -> "_Board":
        """A clear one. A large one costs more to make than a search does, so each thread keeps its last."""
        if size < _LARGE:
            return cls(fields, size)
        board: _Board | None = getattr(_kept, "board", None)
        if board is None or board.sums.shape != (fields, size):
            board = _kept.board = cls(fields, size)
        return board

    @property
    def read(self) -> int:
        """Postings read."""
        return sum(len(rows) for _, rows in self._rows)

    @property
    def full(self) -> bool:
        """Whether so many products have a sum that it is quicker to go through all than to gather those."""
        return _GATHERED * self.read >= self.sums.shape[1]

    def add(self, postings: Sequence[Postings]) -> None:
        """Add a term's list in each field."""
        for field, (products, weights) in enumerate(postings):
            if len(products):
                rows = products.astype(np.intp)
                self._rows.append((field, rows))
                self.sums[field][rows] += weights

    def touched(self) -> NDArray[np.int64]:
        """Rows that any list holds, each once, in no order."""
        rows = np.concatenate([np.zeros(0, np.intp), *(rows for _, rows in self._rows)])
        order = np.arange(len(rows), dtype=np.int32)
        self._places[rows] = order  # of a row that is there twice, the last place stays
        found: NDArray[np.int64] = rows[self._places.take(rows) == order]
        return found

    def contending(self, left: NDArray[np.float32], depth: int, allowed: Allowed) -> NDArray[np.int64] | None:
        """As `_contenders`, of all products, in order."""
        if self.full:
            return _contenders(self.sums, left, depth, allowed)
        rows = self.touched()
        some = _contenders(self.sums.take(rows, axis=1), left, depth, None if allowed is None else allowed[rows])
        return None if some is None else np.sort(rows[some])

    def clear(self) -> None:
        """Forget all lists."""
        if self.full:
            self.sums.fill(0)
        else:
            for field, rows in self._rows:
                self.sums[field][rows] = 0
        self._rows = []


def _contending(
    index: LexicalIndex,
    fields: Sequence[int],
    lists: Mapping[int, Sequence[Postings]],
    board: _Board,
    *,
    depth: int,
    allowed: Allowed,
) -> NDArray[np.int64]:
    """A few rows in order, all that can be among the best or be a field's best among them.

    Args:
        lists: per term its postings in each field, shortest first.
    """
    lengths = [*map(_length, lists.values()), 0]
    peaks = index.peaks[np.ix_(fields, list(lists))]
    rows: NDArray[np.int64] | None = None
    for place, (term, postings) in enumerate(lists.items()):
        left = peaks[:, place + 1 :].sum(axis=1)
        if rows is None:
            board.add(postings)
            if board.read > 2 * lengths[place + 1] > 0 or _may_come(board.sums.max(axis=1), left):
                continue  # the next list is sooner read than looked whether it must be, or it must
            rows = board.contending(left, depth, allowed)
            if rows is not None:
                sums = board.sums.take(rows, axis=1)
            continue
        if len(rows) * _SEARCHED < lengths[place]:
            sums += index.look_up(fields, [term], rows.astype(np.int32)).bm25()
        else:
            board.add(postings)
            sums = board.sums.take(rows, axis=1)
        some = _contenders(sums, left, depth, None if allowed is None else allowed[rows])
        if some is not None:
            rows, sums = rows[some], sums[:, some]
    return np.zeros(0, np.int64) if rows is None else rows


def _may_come(tops: NDArray[np.float32], left: NDArray[np.float32]) -> bool:
    """Whether products not seen yet can be a field's best, or better than any seen."""
    if (left[left > 0] >= tops[left > 0] * (1 - SLACK)).any():
        return True
    known = tops > 0
    return bool(_outside(tops, left) >= (tops[known] / (tops + left)[known]).sum() * (1 - SLACK))


def _outside(tops: NDArray[np.float32], left: NDArray[np.float32]) -> float:
    """The most that a product can get that was not seen yet."""
    return float(np.minimum(left / np.maximum(tops, _TINY), 1).sum())


def _contenders(sums: Sums, left: NDArray[np.float32], depth: int, allowed: Allowed) -> NDArray[np.int64] | None:
    """Places of those that can be among the best, or be a field's best; None if products not seen yet can.

    Args:
        sums: of what was read so far, [fields, R].
        left: the most that each field can still add, [fields].
    """
    tops = sums.max(axis=1)
    known = tops > 0
    least = float((tops[known] / (tops + left)[known]).min())
    most = float((left / np.maximum(tops, _TINY)).sum())
    scores = _shares(sums, tops)
    bar = _at(scores if allowed is None else scores[allowed], depth) * least * (1 - SLACK)
    if left.any() and bar <= _outside(tops, left):
        return None
    reach = scores >= bar - most * (1 + SLACK)
    if allowed is not None:
        reach &= allowed
    for field in np.flatnonzero(known):
        reach |= sums[field] >= tops[field] * (1 - SLACK) - left[field]
    found: NDArray[np.int64] = np.flatnonzero(reach)
    return found


def _length(postings: Sequence[Postings]) -> int:
    return sum(len(products) for products, _ in postings)


def shares(sums: Sums) -> NDArray[np.float32]:
    """One score of the sums [fields, R]: of one field as it is, of several each by its best."""
    if len(sums) == 1 or not sums.shape[1]:
        alone: NDArray[np.float32] = sums[0]
        return alone
    return _shares(sums, sums.max(axis=1))


def _shares(sums: Sums, tops: NDArray[np.float32]) -> NDArray[np.float32]:
    first: NDArray[np.float32]
    first, *more = (of_field / max(top, _TINY) for of_field, top in zip(sums, tops, strict=True))
    for one in more:
        first += one
    return first


def _top(
    scores: NDArray[np.float32], rows: NDArray[np.int64] | None, depth: int, allowed: Allowed
) -> NDArray[np.int64]:
    """The best of rows, of all in order if None."""
    if allowed is not None:
        scores = scores * (allowed if rows is None else allowed[rows])
    some = np.flatnonzero((scores >= _at(scores, depth)) & (scores > 0))
    order = some[np.argsort(-scores[some], kind="stable")][:depth]  # rows are in order, and so are ties
    return order if rows is None else rows[order]


def _at(scores: NDArray[np.float32], depth: int) -> float:
    """The score at a depth, or one below it; 0 if there are not so many."""
    if len(scores) < depth:
        return 0.0
    parts = len(scores) // (8 * depth)
    if parts > 1:  # the best of each place in all parts are as many different products
        scores = scores[: len(scores) // parts * parts].reshape(parts, -1).max(axis=0)
    return float(np.partition(scores, len(scores) - depth)[len(scores) - depth])
