"""What a shelf knows of a release's products, in files that all processes share; rows are those of the index."""

from dataclasses import dataclass
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfbridge.retrieval.ragged import load, load_all
from shelfbridge.retrieval.vectors import Vectors, open_vectors, write_vectors
from shelfbridge.shelf.signals import Demand, Floats, Neighbours

_erf = np.vectorize(erf, otypes=[np.float32])


@dataclass(frozen=True, eq=False)
class Projection:
    """From vectors of texts [M, D] to vectors of products [M, W]: two linear layers with a GELU between.

    What `build.shelf.network.Products` has learned, for products that nobody has bought.
    """

    centre: Floats
    """Subtracted first [D]."""
    inner: Floats
    """[H, D]."""
    inner_bias: Floats
    outer: Floats
    """[W, H]."""
    outer_bias: Floats

    def __call__(self, texts: Floats) -> Floats:
        """Vectors of products [M, W]."""
        hidden = (texts - self.centre) * np.float32(texts.shape[1] ** 0.5) @ self.inner.T + self.inner_bias
        hidden = 0.5 * hidden * (1 + _erf(hidden / np.sqrt(2))) if len(hidden) else hidden
        vectors: Floats = (hidden @ self.outer.T + self.outer_bias).astype(np.float32)
        return vectors


@dataclass(frozen=True, eq=False)
class ShelfProducts:
    """Memory-mapped."""

    vectors: Vectors
    """That user vectors are multiplied with [N, W]."""
    projection: Projection
    associated: Neighbours
    companions: Neighbours
    demand: Demand
    """When the release was made."""

    @staticmethod
    def write(
        folder: Path,
        *,
        vectors: Floats,
        users: Floats,
        projection: Projection,
        associated: Neighbours,
        companions: Neighbours,
        demand: Demand,
        place: str = "faiss",
    ) -> None:
        """Write what is known of N products with vectors [N, W], at a place that `retrieval.vectors` knows.

        Search in a large catalogue is set up so that the nearest of likely users, with vectors [Q, W], are found.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_vectors(folder, vectors, queries=users, place=place)
        np.savez(folder / "projection.npz", **vars(projection))
        arrays: dict[str, NDArray[Any]] = {"lately": demand.lately, "long": demand.long}
        for name, neighbours in (("associated", associated), ("companions", companions)):
            arrays |= {f"{name}_{part}": array for part, array in vars(neighbours).items()}
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)

    @classmethod
    def open(cls, folder: Path) -> "ShelfProducts":
        """Map what `write` wrote.

        Raises:
            ArtefactError: a file is missing or damaged.
        """

        def array(name: str) -> NDArray[Any]:
            return load(folder / f"{name}.npy").view(np.ndarray)

        def neighbours(name: str) -> Neighbours:
            return Neighbours(*(array(f"{name}_{part}") for part in ("items", "weights", "places")))

        return cls(
            open_vectors(folder),
            Projection(**load_all(folder / "projection.npz")),
            neighbours("associated"),
            neighbours("companions"),
            Demand(array("lately"), array("long")),
        )
