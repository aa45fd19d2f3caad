"""How near a compressed graph's outputs come to the original's, and which ones are refused.

What shoppers see decides in the end (nDCG); this catches what is broken before it comes to that.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from shelfbridge.contract import SCORES, SHORTLIST, SORTED_SCORES
from shelfbridge.errors import ArtefactError
from shelfbridge.graph import open_session

Feed = Mapping[str, NDArray[Any]]
"""Inputs of one run, by name."""
Rows = dict[str, NDArray[np.float64]]
"""Per output its rows over all feeds, [N, W], where W is the output's last axis."""
LEAST_SPREAD = 1e-3
"""Of the rows around their mean, relative to their length: below it an output says the same of everything."""
COMPARED = 24
"""Most feeds compared, taken evenly from those given."""


def session(model: ModelProto | Path) -> onnxruntime.InferenceSession:
    """A session on all cores, of the arithmetic that is served."""
    return open_session(model if isinstance(model, Path) else model.SerializeToString(), threads=0)


def some(feeds: Sequence[Feed]) -> Sequence[Feed]:
    """`COMPARED` of the feeds, evenly taken."""
    return feeds[:: -(-len(feeds) // COMPARED)]


def outputs(running: onnxruntime.InferenceSession, feeds: Sequence[Feed]) -> Rows:
    """The rows of every output over all feeds; an output of one axis counts as rows of width 1."""
    names = [one.name for one in running.get_outputs()]
    # The cross-encoder passes the candidates behind its shortlist through, only lowered by the worst of its logits
    width = SHORTLIST if SORTED_SCORES.name in {one.name for one in running.get_inputs()} else None
    runs = [running.run(None, dict(feed)) for feed in feeds]
    return {
        name: np.concatenate([_rows(run[place])[:, :width] for run in runs]).astype(np.float64)
        for place, name in enumerate(names)
    }


def _rows(output: NDArray[Any]) -> NDArray[Any]:
    return output.reshape(-1, output.shape[-1] if output.ndim > 1 else 1)


def cosines(expected: Rows, got: Rows) -> dict[str, float]:
    """Per output the cosine of what was expected and what came, both less what is common in what was expected.

    Without that, scores with a common offset would look alike whatever their order.
    """
    found = {}
    for name, rows in expected.items():
        common = _common(name, rows)
        one, other = (rows - common).ravel(), (got[name] - common).ravel()
        found[name] = float(one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-300))
    return found


RANGE = 0.1
"""Range of one query's scores, by their largest, from which they order candidates even where queries score alike."""


def _common(output: str, rows: NDArray[Any]) -> NDArray[Any]:
    """What is common in rows: their mean; of scores that are alike for all queries (the fusion's), each row's own."""
    mean: NDArray[Any] = rows.mean(0)
    if output != SCORES.name or rows.ndim < 2 or np.linalg.norm(rows - mean) >= LEAST_SPREAD * np.linalg.norm(rows):
        return mean
    ordering = np.ptp(rows, axis=1).min() > RANGE * np.abs(rows).max()
    return rows.mean(1, keepdims=True) if ordering else mean


def hold_file(name: str, original: Path, made: Path, feeds: Sequence[Feed], least: float) -> dict[str, float]:
    """Refuse a file as `hold` does, by what it and the original make of some of the feeds."""
    expected, got = (outputs(session(path), some(feeds)) for path in (original, made))
    return hold(name, expected, got, least)


def hold(name: str, expected: Rows, got: Rows, least: float) -> dict[str, float]:
    """Refuse outputs that are broken or too far from what was expected.

    Args:
        name: of the file, for the message.
        least: cosine that every output must reach.

    Returns:
        The cosines.

    Raises:
        ArtefactError: an output holds infinities or NaN, says the same of every row, or is below `least`.
    """
    for output, rows in got.items():
        if not np.isfinite(rows).all():
            raise ArtefactError(f"{name}: {output} holds infinities or NaN; its weights or scales are out of range")
        for which, values in (("the original", expected[output]), (name, rows)):
            if np.linalg.norm(values - _common(output, values)) < LEAST_SPREAD * np.linalg.norm(values):
                raise ArtefactError(
                    f"{which} answers nearly the same {output} to everything; look at its training and its loading"
                )
    found = cosines(expected, got)
    if low := {output: round(value, 4) for output, value in found.items() if not value >= least}:
        raise ArtefactError(
            f"{name}: cosine to the original is {low}, below {least}; keep the worst layers in floating point "
            "(the setting compression.sensitivity names them) or calibrate by another method"
        )
    return found
