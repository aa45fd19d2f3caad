"""Answers that are kept for a while by a process that answers whole searches: the least recently used go first.

An answer is found again by everything it was made from, byte for byte: what the first step makes of the request, and
the state of the catalogue, so that a change is seen at once. Only ensembles that know nothing of a shopper are kept
(`contract.CACHED`). Each process has caches of its own and serves one release, which ends with it.
"""

import pickle
from collections.abc import Callable, Hashable, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by the names of their tensors."""
OVERHEAD = 200
"""Bytes that an array or a string takes beside its content, about."""
MEGABYTE = 1 << 20


class Cache:
    """Arrays by what they were made from, up to some megabytes; 0 keeps nothing."""

    def __init__(self, megabytes: float) -> None:
        self._kept: LRUCache[Hashable, Arrays] = LRUCache(megabytes * MEGABYTE, getsizeof=size)

    def find(self, key: Hashable) -> Arrays | None:
        """Return what was kept for a key."""
        return self._kept.get(key)

    def keep(self, key: Hashable, arrays: Arrays) -> None:
        """Keep arrays for a key, unless they are too large."""
        if size(arrays) <= self._kept.maxsize:
            self._kept[key] = arrays

    def get(self, key: Hashable, make: Callable[[], Arrays]) -> Arrays:
        """Return what was kept for a key, or what `make` makes now. Nothing is kept of a failure."""
        found = self.find(key)
        if found is None:
            found = make()
            self.keep(key, found)
        return found


def identity(arrays: Arrays) -> bytes:
    """A key that equal arrays share, and no others: a digest of names, types, shapes and content."""
    content = (array.tolist() if array.dtype == object else array.tobytes() for array in arrays.values())
    named = sorted(
        (name, array.dtype.str, array.shape, values)
        for (name, array), values in zip(arrays.items(), content, strict=True)
    )
    return blake2b(pickle.dumps(named), digest_size=16).digest()


def size(arrays: Arrays) -> int:
    """Bytes that arrays take, about."""
    return sum(OVERHEAD + _content(array) for array in arrays.values())


def _content(array: NDArray[Any]) -> int:
    if array.dtype != np.object_:
        return array.nbytes
    return sum(OVERHEAD + len(one) for one in array.ravel())
