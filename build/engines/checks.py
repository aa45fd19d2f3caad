"""An engine held against its ONNX master, in every corner of every profile, and timed there.

The master is run by onnxruntime on the CPU, on the first and last rows of the batch only: rows do not depend on each
other, and the largest corner is hours of work for a CPU.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from rich.console import Console

from build.engines.buckets import Profile
from build.engines.feeds import Feeds, feeds
from build.engines.runtime import EngineSession, median_and_tail
from build.training import progress
from shelfbridge import contract
from shelfbridge.engine import Precision, Shape
from shelfbridge.errors import ArtefactError

TOLERANCE: dict[Precision, float] = {"fp16": 0.02, "int8": 0.1}
"""Most root mean square of the difference, over that of the output. fp16 has 11 bits, summed in another order; an
int8 activation at the edge of a step can fall to either side of it, and goes on from there."""
VARIATION = 1e-6
"""Scores of the candidates that lie closer together than this are the same score to everything."""
CORNERS = ("min", "opt", "max")
ROWS = 2
"""Rows compared at each end of a batch."""


def master_session(master: Path) -> onnxruntime.InferenceSession:
    """onnxruntime with every operator run as the graph says: fused kernels would round elsewhere.

    Raises:
        ArtefactError: the graph cannot be loaded.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(master, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common root
        raise ArtefactError(f"{master} cannot be loaded ({str(error).splitlines()[0]}); build it again") from error


class Session(Protocol):
    """What onnxruntime's session and an engine's have in common."""

    def run(self, outputs: None, feeds: Mapping[str, NDArray[Any]], /) -> list[NDArray[Any]]:
        """All outputs."""
        ...


@dataclass(frozen=True)
class Corner:
    """What was seen at one shape of a profile."""

    profile: int
    corner: str
    shapes: dict[str, Shape]
    difference: float
    """Largest over the outputs, in the measure of `TOLERANCE`."""
    median_ms: float
    p99_ms: float


def check(
    engine: EngineSession,
    master: Path,
    model: contract.Model,
    profiles: tuple[Profile, ...],
    *,
    precision: Precision,
    vocabulary: int,
    runs: int,
    console: Console,
) -> list[dict[str, Any]]:
    """Compare and time an engine in every corner of its profiles.

    Returns:
        `Corner`s as JSON.

    Raises:
        ArtefactError: the engine's profiles are not those asked for, an output differs by more than the tolerance or
            is not finite, or all candidates get the same score.
    """
    if engine.profiles != list(profiles):
        raise ArtefactError(f"{model.name}: the engine has other profiles than it was built for; build it again")
    reference = master_session(master)
    seen = []
    with progress(console) as bar:
        places = [(number, corner) for number in range(len(profiles)) for corner in CORNERS]
        for number, corner in bar.track(places, description=f"comparing {model.name}"):
            shapes: dict[str, Shape] = {name: getattr(r, corner) for name, r in profiles[number].items()}
            inputs = feeds(model, shapes, vocabulary)
            place = f"{model.name}, profile {number}, {corner} {shapes}"
            apart = compare(engine, reference, inputs, place, TOLERANCE[precision])
            timed = median_and_tail(engine.time(inputs, runs))
            seen.append(asdict(Corner(number, corner, shapes, apart, timed["median_ms"], timed["p99_ms"])))
    check_variation(engine, model, profiles[0], vocabulary)
    return seen


def compare(engine: Session, reference: Session, inputs: Feeds, place: str, tolerance: float) -> float:
    """The largest relative difference of the outputs.

    Raises:
        ArtefactError: it is above the tolerance, or an output is not finite.
    """
    batch = len(next(iter(inputs.values())))
    rows = sorted({*range(min(ROWS, batch)), *range(max(0, batch - ROWS), batch)})
    got = [output[rows] for output in engine.run(None, inputs)]
    wanted = reference.run(None, {name: array[rows] for name, array in inputs.items()})
    differences = [difference(one, other) for one, other in zip(got, wanted, strict=True)]
    apart = max(differences)
    if not apart <= tolerance:
        raise ArtefactError(
            f"{place}: the engine differs from its master by {apart:.3g} (at most {tolerance:g}); it is not published. "
            "Build it from the other precision, or keep the layers that lose most in floating point"
        )
    return apart


def difference(got: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Root mean square of the difference over that of what is wanted; infinite where the output is not finite."""
    if got.shape != wanted.shape or not np.isfinite(got).all():
        return float("inf")
    apart, size = (float(np.sqrt(np.square(x, dtype=np.float64).mean())) for x in (got - wanted, wanted))
    return apart / max(size, 1e-12)


def check_variation(engine: Session, model: contract.Model, profile: Profile, vocabulary: int) -> None:
    """Refuse a model that gives the same score to everything.

    Raises:
        ArtefactError: it does.
    """
    if contract.SCORES not in model.outputs:
        return
    inputs = feeds(model, {name: shapes.opt for name, shapes in profile.items()}, vocabulary)
    if contract.SORTED_SCORES.name in inputs:  # they would vary by themselves
        inputs[contract.SORTED_SCORES.name][:] = 0
    (scores,) = engine.run(None, inputs)
    if not np.ptp(scores[:, : contract.SHORTLIST], axis=1).min() > VARIATION:
        raise ArtefactError(
            f"{model.name} gives the same score to every candidate; its head was not trained or not loaded. Train it "
            "again and build a new release"
        )
