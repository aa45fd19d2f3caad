"""Strings numbered and looked up in files that all processes share: a catalogue's terms, words, brands.

A dict of a million strings takes seconds to read and 100 MB in every process; this takes neither.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfbridge.errors import ArtefactError
from shelfbridge.retrieval.ragged import Ragged, load

CACHED = 1 << 14
"""Strings whose numbers are kept."""


@dataclass(frozen=True, eq=False)
class Names:
    """Distinct strings, numbered from 0 in the order in which they were written."""

    _texts: Ragged
    _find: Callable[[str], int]
    _longest: int
    """Bytes of the longest."""

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, number: int) -> str:
        return self._texts[number].tobytes().decode()

    def find(self, name: str) -> int:
        """The number of a string, -1 if it is not there."""
        return self._find(name) if len(name) <= self._longest else -1

    @staticmethod
    def write(folder: Path, name: str, strings: Sequence[str]) -> None:
        """Write distinct strings as `<name>.npy` and three files beside it."""
        texts = [string.encode() for string in strings]
        digests = np.frombuffer(b"".join(map(_digest, texts)), "<u8")
        order = np.argsort(digests, kind="stable")
        Ragged.write(folder, name, [np.frombuffer(text, np.uint8) for text in texts])
        np.save(folder / f"{name}.digests.npy", digests[order])
        np.save(folder / f"{name}.numbers.npy", order.astype(np.int32))

    @classmethod
    def open(cls, folder: Path, name: str) -> "Names":
        """Map what `write` wrote.

        Raises:
            ArtefactError: a file is missing, damaged, or does not belong to the others.
        """
        texts = Ragged.open(folder, name)
        digests: Any = load(folder / f"{name}.digests.npy").view(np.ndarray)
        numbers = load(folder / f"{name}.numbers.npy").view(np.ndarray)
        if not len(texts) == len(digests) == len(numbers):
            raise ArtefactError(f"{folder / name}.npy does not belong to its digests; build the release again")
        find = lru_cache(maxsize=CACHED)(partial(_find, texts, memoryview(digests), numbers))
        return cls(texts, find, int(np.diff(texts.offsets).max(initial=0)))


def _find(texts: Ragged, digests: memoryview, numbers: NDArray[np.int32], name: str) -> int:
    text = name.encode()
    digest = int.from_bytes(_digest(text), "little")
    place = bisect_left(digests, digest)
    while place < len(digests) and digests[place] == digest:
        number = int(numbers[place])
        if texts[number].tobytes() == text:
            return number
        place += 1
    return -1


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=8).digest()
