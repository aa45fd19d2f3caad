"""Personal search: the ranker's scores for the query, and what the shelf's ranker says of the shopper."""

import numpy as np
from numpy.typing import NDArray

from shelfbridge.shelf.signals import Floats

WEIGHT = 0.25
"""Of the shopper's taste beside the query. On the sample (`python -m build.shelf personal`) 0.5 is no worse, and 1
loses where shoppers know what they want: the query comes first."""


def blend(scores: Floats, tastes: Floats, there: NDArray[np.bool_], weight: float = WEIGHT) -> Floats:
    """The ranker's scores moved by taste; both count by how they vary over the candidates.

    Args:
        scores: of the ranker, for the query [C].
        tastes: of the shelf's ranker, for the shopper [C].
        there: which are candidates, not padding [C].
        weight: standard deviations of the scores per standard deviation of the tastes.
    """
    if np.count_nonzero(there) < 2:
        return scores
    spread = float(tastes[there].std())
    moved = scores + weight * float(scores[there].std()) * (tastes - tastes[there].mean()) / max(spread, 1e-6)
    blended: Floats = np.where(there, moved, scores).astype(np.float32)
    return blended
