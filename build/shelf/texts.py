"""What a release's encoder makes of the titles of products."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from build.evaluation.offline import session
from build.release.index import encode
from build.release.later import Release
from build.release.publish import PRODUCT_ENCODER
from shelfbridge.errors import DataError


def title_vectors(release: Path, titles: Sequence[str], console: Console) -> NDArray[np.float32]:
    """Unit vectors [N, D] of titles, by the encoder that the release's products were indexed with.

    Raises:
        ArtefactError: the folder is no release.
        DataError: no product has a title.
    """
    if not any(titles):
        raise DataError("no product has a title, and vectors are made of titles; give the column `title`")
    opened = Release.open(release)
    vectors, _ = encode(titles, opened.pieces(), session(opened.folder / PRODUCT_ENCODER), console)
    return vectors
