"""Rows of different lengths in one memory-mapped array: token vectors, word pieces, payload bytes."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfbridge.errors import ArtefactError


@dataclass(frozen=True)
class Ragged:
    """`values[offsets[i]:offsets[i + 1]]` is row i. Both arrays are read from disk as they are touched."""

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[Any]:
        part: NDArray[Any] = self.values[self.offsets[row] : self.offsets[row + 1]]
        return part

    def padded(self, rows: NDArray[np.integer[Any]]) -> tuple[NDArray[Any], NDArray[np.int32]]:
        """The given rows side by side, zeros behind the shorter ones, and their lengths.

        Args:
            rows: int [R]; -1 gives a row of length 0.

        Returns:
            values [R, longest, ...] and lengths int32 [R]. The longest is at least 1.
        """
        known = rows >= 0
        starts = np.where(known, self.offsets[rows], 0)
        lengths = np.where(known, self.offsets[rows + 1] - starts, 0).astype(np.int32)
        columns = np.arange(lengths.max(initial=1))
        if not len(self.values):
            return np.zeros((len(rows), len(columns), *self.values.shape[1:]), self.values.dtype), lengths
        # A row's bytes as one item: numpy then copies each in one go, several times as quick as element by element
        items = self.values.reshape(len(self.values), -1).view(f"V{self.values[0].nbytes}")[:, 0]
        out = items.take(starts[:, None] + columns, mode="clip")
        out[columns >= lengths[:, None]] = np.zeros((), out.dtype)
        return out.view(self.values.dtype).reshape(*out.shape, *self.values.shape[1:]), lengths

    @classmethod
    def write(cls, folder: Path, name: str, rows: Sequence[NDArray[Any]]) -> None:
        """Write rows as `<name>.npy` and `<name>.offsets.npy`."""
        np.save(folder / f"{name}.npy", np.concatenate(rows) if rows else np.zeros(0, np.uint8))
        np.save(folder / f"{name}.offsets.npy", np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64))

    @classmethod
    def open(cls, folder: Path, name: str) -> "Ragged":
        """Map what `write` wrote.

        Raises:
            ArtefactError: a file is missing, damaged, or does not belong to the other.
        """
        values = load(folder / f"{name}.npy")
        offsets = load(folder / f"{name}.offsets.npy")
        if not len(offsets) or offsets[-1] != len(values):
            raise ArtefactError(f"{folder / name}.npy does not belong to its offsets file; build the release again")
        # Plain views: indexing a memmap subclass costs several times an ndarray's
        return cls(values.view(np.ndarray), offsets.view(np.ndarray))


def load(path: Path) -> NDArray[Any]:
    """Map one array.

    Raises:
        ArtefactError: the file is missing or damaged.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from error
    return array


def load_all(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of an `.npz` file, by name.

    Raises:
        ArtefactError: the file is missing or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, error) from error


def check_lengths(what: object, lengths: Mapping[str, int]) -> None:
    """Hold files, or parts of a release, against each other: all are of the same products.

    Raises:
        ArtefactError: they are of different numbers of products, as those of two releases are.
    """
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise ArtefactError(f"{what}: they hold different products ({counts}); build the release again")


def _unreadable(path: Path, error: Exception) -> ArtefactError:
    return ArtefactError(f"{path} cannot be read ({error}); build the release again")
