"""How long a served query is: one rule for the server, for calibration, and for the shapes of engines."""

import numpy as np
from numpy.typing import NDArray

BUCKET = 4
"""Lengths are rounded up to a multiple of this. Triton joins requests of equal shapes only; coarser steps would join
more of them, and pad more."""


def padded(row: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a row int64 [S] with zeros behind it, up to a whole number of `BUCKET`s."""
    out = np.zeros(len(row) + -len(row) % BUCKET, np.int64)
    out[: len(row)] = row
    return out
