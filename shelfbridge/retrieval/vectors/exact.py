"""Small catalogues: every vector is compared, in fp32. What is found is the truth that larger ones are held to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from shelfbridge.errors import ArtefactError

FILE = "vectors.faiss"
LIMIT = 20_000
"""Products up to which search is exact: one thread compares so many vectors of 384 numbers in 1 ms."""


@dataclass(frozen=True)
class ExactVectors:
    """A memory-mapped `faiss.IndexFlatIP`."""

    index: Any

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def search(
        self, query: NDArray[np.float32], depth: int, allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """As `Vectors.search`."""
        return nearest(self.index, query, min(depth, len(self)), only(allowed))

    def fetch(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """As `Vectors.fetch`."""
        vectors: NDArray[np.float32] = self.index.reconstruct_batch(rows)
        return vectors

    @staticmethod
    def write(folder: Path, vectors: NDArray[np.float32]) -> None:
        """Write vectors [N, D]."""
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)
        faiss.write_index(flat, str(folder / FILE))

    @classmethod
    def open(cls, folder: Path) -> "ExactVectors":
        """Map what `write` wrote.

        Raises:
            ArtefactError: the file is missing, damaged, or of another kind.
        """
        index = mapped(folder)
        if not isinstance(index, faiss.IndexFlat):
            raise ArtefactError(f"{folder / FILE} wants its vectors.json, which is missing; build the release again")
        return cls(index)


def mapped(folder: Path) -> Any:
    """Map a folder's FAISS file; what FAISS can map is one copy for all processes.

    Raises:
        ArtefactError: it is missing or damaged.
    """
    try:
        return faiss.read_index(str(folder / FILE), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise ArtefactError(f"{folder / FILE} cannot be read; build the release again") from error


def only(allowed: NDArray[np.bool_] | None) -> Any:
    """FAISS's search parameters for a filter [N]."""
    return None if allowed is None else faiss.SearchParameters(sel=selector(allowed))


def selector(allowed: NDArray[np.bool_]) -> Any:
    """FAISS's form of a filter [N]."""
    return faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))


def nearest(index: Any, query: NDArray[np.float32], depth: int, parameters: Any) -> NDArray[np.int64]:
    """Rows that a FAISS index finds for a vector [D], best first."""
    _, rows = index.search(query[None], depth, params=parameters)
    found: NDArray[np.int64] = rows[0][rows[0] >= 0]
    return found
