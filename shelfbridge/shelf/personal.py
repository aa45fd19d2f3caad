"""Personal search: the ranker's scores, and who asks."""

import numpy as np
from numpy.typing import NDArray

from shelfbridge.shelf.signals import Floats

WEIGHT = 0.25
"""Of the shopper's taste beside the query."""


def blend(scores: Floats, affinities: Floats, there: NDArray[np.bool_], weight: float = WEIGHT) -> Floats:
    """The ranker's scores moved by taste; both count by how they vary over the candidates.

    Args:
        scores: of the ranker [C].
        affinities: user vector by product vector [C].
        there: which are candidates, not padding [C].
        weight: standard deviations of the scores per standard deviation of the affinities.
    """
    if np.count_nonzero(there) < 2:
        return scores
    taste = affinities - affinities[there].mean()
    spread = float(affinities[there].std())
    moved = scores + weight * float(scores[there].std()) * taste / max(spread, 1e-6)
    blended: Floats = np.where(there, moved, scores).astype(np.float32)
    return blended
