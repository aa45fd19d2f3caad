"""The products' vectors at search time, wherever they are: in FAISS files beside the index, or in Milvus.

The build says where (`write_vectors`) and leaves a record; the server reads the record (`open_vectors`).
"""

import json
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shelfbridge.errors import ArtefactError, SettingsError
from shelfbridge.retrieval.vectors import approximate, exact

RECORD = "vectors.json"
"""Where the vectors are and how they are searched; absent where an exact FAISS file needs no more to be said."""
MILVUS_URI = "SHELFBRIDGE_MILVUS_URI"
"""Environment variable: the address of Milvus; it wins over that of the build."""


class Vectors(Protocol):
    """What candidate search needs of the products' unit vectors. Rows are the catalogue's."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def search(
        self, query: NDArray[np.float32], depth: int, allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """Rows of the nearest by inner product, best first, at most `depth`.

        Args:
            query: unit vector [D].
            allowed: which rows may be answered, [N].
        """
        ...

    def fetch(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """The vectors of rows [R], float32 [R, D]."""
        ...


def write_vectors(
    folder: Path,
    vectors: NDArray[np.float32],
    *,
    queries: NDArray[np.float32] | None = None,
    place: str = "faiss",
    exact_up_to: int = exact.LIMIT,
) -> None:
    """Write unit vectors [N, D] so that `open_vectors` finds them.

    Args:
        queries: vectors [Q, D] of what shoppers might ask; search in a large catalogue is set up so that their
            nearest are found. Without any, products stand in, which are asked for more easily.
        place: `faiss`, `milvus` (at the address in `SHELFBRIDGE_MILVUS_URI`), or an address of Milvus.
        exact_up_to: products from which on FAISS searches approximately.

    Raises:
        SettingsError: no place of that name.
        ArtefactError: Milvus cannot be written to.
        PrerequisiteError: its client is not installed.
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    if queries is None or not len(queries):
        queries = vectors[:: max(1, len(vectors) // 200)]
    if place == "faiss" and len(vectors) <= exact_up_to:
        exact.ExactVectors.write(folder, vectors)
        return
    if place == "faiss":
        record = approximate.ApproximateVectors.write(folder, vectors, queries)
    else:
        from shelfbridge.retrieval.vectors import milvus

        record = milvus.MilvusVectors.write(vectors, queries, _address(place))
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")


def open_vectors(folder: Path) -> Vectors:
    """Open what `write_vectors` wrote.

    Raises:
        ArtefactError: a file is missing or damaged, or Milvus does not hold what the record says.
        PrerequisiteError: the client of Milvus is not installed.
    """
    if not (folder / RECORD).exists():
        return exact.ExactVectors.open(folder)
    try:
        record = json.loads((folder / RECORD).read_text())
        if record["in"] == "faiss":
            return approximate.ApproximateVectors.open(folder, record)
        from shelfbridge.retrieval.vectors import milvus

        return milvus.MilvusVectors.open(record, os.environ.get(MILVUS_URI) or record["uri"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{folder / RECORD} cannot be read ({error!r}); build the release again") from error


def _address(place: str) -> str:
    if place == "milvus":
        if not os.environ.get(MILVUS_URI):
            raise SettingsError(f"vectors are to go to Milvus, but {MILVUS_URI} is not set; set it to its address")
        return os.environ[MILVUS_URI]
    if "://" not in place and not place.endswith(".db"):
        raise SettingsError(f"{place!r} is no place for vectors; use faiss, milvus, or an address as http://host:19530")
    return place
