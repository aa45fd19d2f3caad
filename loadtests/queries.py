"""Queries that repeat as a shop's do, and queries that never repeat.

Judged queries are few, so each is varied by one more word of the catalogue ("hiking boots" -> "hiking boots olive"):
real words, so that spelling, stemming and retrieval meet what they meet in a shop.
"""

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

import numpy as np

from shelfbridge.catalogue import Catalogue
from shelfbridge.contract import MAX_QUERY_CHARS
from shelfbridge.errors import DataError
from shelfbridge.text import normalise

POOL = 5000
"""Distinct queries of the Zipf load; the cold ones come after them."""
_WORD = re.compile(r"[^\W\d_]{3,}")


class QueryStream:
    """Distinct queries in an order that depends on nothing but the texts: the judged ones, then their variations."""

    def __init__(self, texts: Iterable[str], words: Sequence[str]) -> None:
        judged = sorted(set(texts))
        random.Random(7).shuffle(judged)
        self._queries = _distinct(judged, words)
        self._unused: list[str] = []
        self.pool = list(islice(self._queries, POOL))

    def cold(self, count: int) -> list[str]:
        """Queries that were neither given before nor are in the pool.

        Raises:
            DataError: the texts and words do not make so many.
        """
        found = self.up_to(count)
        if len(found) < count:
            raise DataError(
                f"too few distinct queries: {count:,} more are needed, the judged ones and the catalogue's words make "
                f"{len(found):,}; give fewer --searches or more judgments"
            )
        return found

    def up_to(self, count: int) -> list[str]:
        """The same, fewer where the texts and words do not make so many."""
        again, self._unused = self._unused[:count], self._unused[count:]
        return again + list(islice(self._queries, count - len(again)))

    def give_back(self, queries: Sequence[str]) -> None:
        """Take back the last of those that were given, unused."""
        self._unused = [*queries, *self._unused]

    def zipf(self, count: int, seed: int) -> list[str]:
        """Queries of the pool, the r-th as often as 1/r (Zipf's law, exponent 1); the same for the same seed."""
        weights = 1 / np.arange(1, len(self.pool) + 1)
        places = np.random.default_rng(seed).choice(len(self.pool), count, p=weights / weights.sum())
        return [self.pool[place] for place in places]


def words_of(catalogue: Catalogue) -> list[str]:
    """The distinct words of all titles, brands and colours, shuffled."""
    found = {word for product in catalogue.products for word in _WORD.findall(product.short_text.lower())}
    words = sorted(found)
    random.Random(7).shuffle(words)
    return words


def _distinct(texts: Sequence[str], words: Sequence[str]) -> Iterator[str]:
    seen = set()
    varied = (f"{text} {word}" for word in words for text in texts if word not in text.lower().split())
    for query in chain(texts, varied):
        key = normalise(query).lower()
        if key not in seen and len(query) <= MAX_QUERY_CHARS:
            seen.add(key)
            yield query
