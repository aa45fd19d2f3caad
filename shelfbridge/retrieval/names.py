"""Strings numbered and looked up in files that all processes share: a catalogue's terms, words, brands.

A dict of a million strings takes seconds to read and 100 MB in every process; this takes neither.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfbridge.errors import ArtefactError
from shelfbridge.retrieval.ragged import Ragged, load


@dataclass(frozen=True, eq=False)
class Names:
    """Distinct strings, numbered from 0 in the order in which they were written."""

    _texts: Ragged
    _digests: memoryview
    _numbers: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, number: int) -> str:
        return self._texts[number].tobytes().decode()

    @lru_cache(maxsize=1 << 14)  # noqa: B019 - lives as long as the index, which is as long as the process
    def find(self, name: str) -> int:
        """The number of a string, -1 if it is not there."""
        text = name.encode()
        digest = int.from_bytes(_digest(text), "little")
        place = bisect_left(self._digests, digest)
        while place < len(self._digests) and self._digests[place] == digest:
            number = int(self._numbers[place])
            if self._texts[number].tobytes() == text:
                return number
            place += 1
        return -1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Bytes of each string in UTF-8, [n]."""
        return np.diff(self._texts.offsets)

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
        return cls(texts, memoryview(digests), numbers)


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=8).digest()
