"""Lengths as they are served: a query's word pieces, rounded up to a whole number of buckets.

Triton joins requests of equal shapes only, a TensorRT profile is tuned for one shape, and a CUDA graph is replayed for
exactly the shape that it was captured for. Whoever pads, counts or tunes for lengths therefore takes them from here.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BUCKET = 4
"""Lengths are rounded up to a multiple of this. Coarser steps would join more requests, and pad more."""


def padded(row: NDArray[Any]) -> NDArray[Any]:
    """Return a row [S] with zeros behind it, up to a whole `BUCKET`; its dtype stays."""
    out = np.zeros(len(row) + -len(row) % BUCKET, row.dtype)
    out[: len(row)] = row
    return out
