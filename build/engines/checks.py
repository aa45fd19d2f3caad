"""An engine held against its ONNX master, in every corner of every profile, and timed there.

The master is run by onnxruntime on the CPU, on the first and last rows of the batch only: rows do not depend on each
other, and the largest corner is hours of work for a CPU.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from rich.console import Console

from build.engines.buckets import Profile
from build.engines.feeds import Feeds, feeds
from build.engines.runtime import EngineSession
from build.progress import progress
from shelfbridge import contract
from shelfbridge.engine import EngineRecord, Precision
from shelfbridge.errors import ArtefactError
from shelfbridge.graph import open_session

TOLERANCE: dict[Precision, float] = {"fp16": 0.02, "int8": 0.1}
"""Most root mean square of the difference, over that of the output. fp16 has 11 bits, summed in another order; an
int8 activation at the edge of a step can fall to either side of it, and goes on from there."""
VARIATION = 1e-6
"""Scores of the candidates that lie closer together than this are the same score to everything."""
CORNERS = ("min", "opt", "max")
ROWS = 2
"""Rows compared at each end of a batch."""
SAME = ("Cast", "DequantizeLinear", "Identity", "QuantizeLinear", "Reshape", "Squeeze", "Unsqueeze")
"""Operators between a graph's ids or a stored table and the lookup, as exporter and quantisation place them."""


def check_vocabulary(master: Path, model: contract.Model, vocabulary: int) -> None:
    """Refuse a master whose embedding lacks rows for some of the tokenizer's word pieces; a GPU reads beyond its end.

    Raises:
        ArtefactError: it does.
    """
    graph = onnx.load(master, load_external_data=False).graph
    makers = {output: node for node in graph.node for output in node.output}
    tables = {one.name: one.dims[0] for one in graph.initializer if one.dims}
    ids = {tensor.name for tensor in model.inputs} & {contract.INPUT_IDS.name, contract.PAIR_IDS.name}

    def source(name: str) -> str:
        while name in makers and makers[name].op_type in SAME:
            name = makers[name].input[0]
        return name

    looked_up = [[source(name) for name in node.input] for node in graph.node if node.op_type == "Gather"]
    rows = min((tables[table] for table, by in looked_up if by in ids and table in tables), default=vocabulary)
    if rows < vocabulary:
        raise ArtefactError(
            f"{master}: its embedding has {rows} rows, but the release's tokenizer knows {vocabulary} word pieces; "
            "build the release again"
        )


def master_session(master: Path) -> onnxruntime.InferenceSession:
    """onnxruntime with every operator run as the graph says.

    The sessions that serve fuse: int8 operators then round, and on some CPUs saturate, where no engine does.

    Raises:
        ArtefactError: the graph cannot be loaded.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return open_session(master, options)


class Session(Protocol):
    """What onnxruntime's session and an engine's have in common."""

    def run(self, outputs: None, feeds: Mapping[str, NDArray[Any]], /) -> list[NDArray[Any]]:
        """All outputs."""
        ...


def check(
    engine: EngineSession, master: Path, record: EngineRecord, *, vocabulary: int, runs: int, console: Console
) -> tuple[list[dict[str, Any]], list[str]]:
    """Compare and time an engine in every corner of its profiles, whatever one of them brings.

    Returns:
        What was seen in each corner, as JSON (`visit`), and why the engine must not be published: an output differs by
        more than the tolerance or is not finite, a corner failed, or all candidates get the same score.

    Raises:
        ArtefactError: the engine's profiles are not those asked for, or the master cannot be loaded.
    """
    model = contract.MODELS[record.model]
    if engine.profiles != list(record.profiles):
        raise ArtefactError(f"{model.name}: the engine has other profiles than it was built for; build it again")
    reference = master_session(master)
    seen, reasons = [], []
    with progress(console) as bar:
        places = [(number, corner) for number in range(len(record.profiles)) for corner in CORNERS]
        for number, corner in bar.track(places, description=f"comparing {model.name}"):
            shapes = {name: getattr(one, corner) for name, one in record.profiles[number].items()}
            inputs = own_feeds(model, shapes, vocabulary)
            told = visit(engine, reference, model, inputs, tolerance=TOLERANCE[record.precision], runs=runs)
            seen.append({"profile": number, "corner": corner, "shapes": shapes, **told})
            if told["refused"]:
                reasons.append(f"{model.name}, profile {number}, {corner} {shapes}: {told['refused']}")
    try:
        check_variation(engine, model, record.profiles[0], vocabulary)
    except ArtefactError as error:
        reasons.append(str(error))
    return seen, reasons


def visit(
    engine: EngineSession, reference: Session, model: contract.Model, inputs: Feeds, *, tolerance: float, runs: int
) -> dict[str, Any]:
    """What running an engine at one shape shows.

    `difference` is the largest over the outputs, in the measure of `TOLERANCE`, and None where an output is not finite
    or none came; `refused` is why the engine must not be published, None where it may.
    """
    told: dict[str, Any] = dict.fromkeys(("difference", "median_ms", "p99_ms", "refused"))
    try:
        apart = compare(engine, reference, model, inputs)
        timed = engine.time(inputs, runs)
    except Exception as error:  # memory that one corner lacks, most often: it says nothing of the others
        return told | {"refused": f"{type(error).__name__}: {error}"}
    told |= {"median_ms": float(np.median(timed)), "p99_ms": float(np.quantile(timed, 0.99))}
    if np.isfinite(apart):
        told["difference"] = apart
    if not apart <= tolerance:
        told["refused"] = (
            f"the engine differs from its master by {apart:.3g} (at most {tolerance:g}); it is not published. Build it "
            "from the other precision, or keep the layers that lose most in floating point"
        )
    return told


def own_feeds(model: contract.Model, shapes: dict[str, tuple[int, ...]], vocabulary: int) -> Feeds:
    """Inputs under which a model's outputs are its own: the cross-encoder's without the ranker's scores."""
    inputs = feeds(model, shapes, vocabulary)
    if contract.SORTED_SCORES.name in inputs:
        inputs[contract.SORTED_SCORES.name][:] = 0
    return inputs


def own_outputs(model: contract.Model, outputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Outputs as far as they are the model's own.

    The cross-encoder passes most scores through, and adds its logits to the shortlist's with a small weight: there it
    is the logits, less their mean, that order products.
    """
    if contract.SORTED_SCORES not in model.inputs:
        return outputs
    (scores,) = outputs
    logits = scores[:, : contract.SHORTLIST]
    return [logits - logits.mean(axis=1, keepdims=True)]


def compare(engine: Session, reference: Session, model: contract.Model, inputs: Feeds) -> float:
    """The largest relative difference of the outputs; infinite where an output is not finite."""
    batch = len(next(iter(inputs.values())))
    rows = sorted({*range(min(ROWS, batch)), *range(max(0, batch - ROWS), batch)})
    got = [output[rows] for output in engine.run(None, inputs)]
    wanted = reference.run(None, {name: array[rows] for name, array in inputs.items()})
    if not all(np.isfinite(output).all() for output in got):
        return float("inf")
    own = (own_outputs(model, outputs) for outputs in (got, wanted))
    return max(difference(one, other) for one, other in zip(*own, strict=True))


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
    if not {contract.SCORES, contract.SHELF_SCORES} & set(model.outputs):
        return
    inputs = own_feeds(model, {name: shapes.opt for name, shapes in profile.items()}, vocabulary)
    (scores,) = engine.run(None, inputs)
    if not np.ptp(scores[:, : contract.SHORTLIST], axis=1).min() > VARIATION:
        raise ArtefactError(
            f"{model.name} gives the same score to every candidate; its head was not trained or not loaded. Train it "
            "again and build a new release"
        )
