"""fp32 to int8: calibrated on the shop's own queries and products, explicit Q/DQ, one set of scales for CPU and GPU.

Writes `int8.onnx`, the signed master that TensorRT parses, and `model.onnx`, the same arithmetic for ONNX Runtime on
the CPU. NVIDIA's Model Optimizer places and calibrates; only linear layers are quantised: attention's products and the
residual sums stay in floating point (over quantised residuals: cosine of the embedding 0.95 -> 0.975, same speed).
"""

import contextlib
import io
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from onnxruntime.quantization.calibrate import CalibrationDataReader
from rich.console import Console

from build.compression import qdq
from build.compression.fidelity import Feed, cosines, hold_file, outputs, session, some
from build.engines.operators import check_graph
from build.progress import progress
from build.settings import Method
from shelfbridge.errors import ArtefactError, DataError

PERCENTILES = (99.99, 99.999, 100.0)
"""Tried in turn: a cross-encoder may live by the few activations that an encoder does better without."""
LEAST_ROWS = 100
"""Fewer queries or products say too little of the ranges."""
LEAST_WORK = 100
"""Multiply-adds for each value converted (`qdq.work_per_value`) from which int8 is quicker on a CPU.

Measured on one core with AVX2, 8 rows: 0.86 of fp32's time at 102, 0.54 at 307, none saved at 64 and below.
"""
LEAST_COSINE = 0.9
"""To the fp32 outputs; a file below it is broken rather than coarse."""
BINS = 4096


def quantise(
    folder: Path,
    *,
    graph: Path,
    feeds: Sequence[Feed],
    method: Method = "entropy",
    keep: Sequence[str] = (),
    console: Console | None = None,
) -> None:
    """Write `int8.onnx` and `model.onnx`.

    Args:
        graph: the fp32 file, as exported.
        feeds: batches of rows of equal length; `attention_mask` or another input whose name ends in `mask` says where
            there is a word piece. What is a constant offset to the output (the sorted scores of the cross-encoder's
            graph) should be zero, or it hides differences.
        keep: linear layers that stay in floating point, by the names of their nodes.

    Raises:
        DataError: too few rows, or rows that are nothing but padding.
        ArtefactError: scales or outputs that cannot be used, or nodes that TensorRT does not parse.
    """
    check_feeds(feeds)
    reference = onnx.load(graph)
    master = calibrated(graph, feeds, method, console or Console(quiet=True))
    write(folder, qdq.keep_float(master, reference, keep) if keep else master)
    hold_file("int8", graph, folder / "model.onnx", feeds, LEAST_COSINE)


def quantise_ranker(folder: Path, *, graph: Path, feeds: Sequence[Feed]) -> None:
    """Write the ranker's `int8.onnx`, where query and candidate vectors are multiplied in int8, and `model.onnx`.

    On the CPU that gains nothing (1.9 ms for 1.6: the product is narrow, and the candidates are int8 either way), so
    `model.onnx` is the fp32 file.

    Args:
        graph: the fp32 file, as exported.
        feeds: the ranker's inputs of real queries; the largest component of their vectors sets the scale.

    Raises:
        DataError: too few queries.
        ArtefactError: outputs that cannot be used, or a graph of another make.
    """
    check_feeds(feeds)
    reference = onnx.load(graph)
    ((most,),) = (one.values() for one in percentiles(reference, [qdq.stored_product(reference)], feeds, [100]))
    onnx.save(qdq.quantise_product(reference, most / 127), folder / "int8.onnx")
    check_graph(folder / "int8.onnx")
    shutil.copyfile(graph, folder / "model.onnx")
    hold_file("int8", graph, folder / "int8.onnx", feeds, LEAST_COSINE)


def check_feeds(feeds: Sequence[Feed]) -> None:
    """Refuse a calibration set that says nothing of the ranges.

    Raises:
        DataError: fewer than `LEAST_ROWS` rows, or a batch of padding alone.
    """
    there = [_texts(feed) for feed in feeds]
    if not all(some.any() for some in there):
        raise DataError("the calibration set has batches that are all padding; draw it from real queries and products")
    rows = sum(int(some.sum()) for some in there)
    if rows < LEAST_ROWS:
        raise DataError(f"the calibration set is too small ({rows} rows); give at least {LEAST_ROWS}")


def _texts(feed: Feed) -> NDArray[np.bool_]:
    """Which queries or products of a batch are there: by their mask or their length, else all."""
    for name, value in feed.items():
        if name.endswith("mask"):
            return np.asarray(value.any(-1))
        if name.endswith("lengths"):
            return np.asarray(value > 0)
    return np.ones(len(next(iter(feed.values()))), np.bool_)


def calibrated(graph: Path, feeds: Sequence[Feed], method: Method, console: Console) -> ModelProto:
    """The master with every linear layer quantised."""
    reference = onnx.load(graph)
    used = feeds[:1] if method == "percentile" else feeds
    with progress(console) as bar:
        reader = _Reader(used, bar.track(used, description="calibrating"))
        placed = _place(graph, reader, feeds[0], "max" if method == "percentile" else method)
        master = qdq.fold(placed, reference)
    return _clipped(master, reference, feeds) if method == "percentile" else master


def _clipped(master: ModelProto, reference: ModelProto, feeds: Sequence[Feed]) -> ModelProto:
    """The master whose activations are clipped at the percentile that brings the outputs nearest to fp32's."""
    compared = some(feeds)
    expected = outputs(session(reference), compared)
    found = percentiles(reference, list(qdq.activations(master)), feeds, PERCENTILES)
    tried = [qdq.rescaled(master, {name: value / 127 for name, value in ranges.items()}) for ranges in found]

    def nearness(model: ModelProto) -> float:
        return min(cosines(expected, outputs(session(qdq.cpu_form(model)), compared)).values())

    return max(tried, key=nearness)


def write(folder: Path, master: ModelProto) -> None:
    """Write both forms of a master.

    Raises:
        ArtefactError: it has no quantised layer, a scale is zero or not finite, or TensorRT does not parse it.
    """
    if not qdq.linears(master):
        raise ArtefactError("no linear layer is quantised; serve the fp32 or fp16 file instead")
    for name, scale in qdq.scales(master):
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise ArtefactError(
                f"the scale of {name} is zero or not a number: what it measures was constant or overflowed; "
                "calibrate on other rows or keep that layer in floating point"
            )
    onnx.save(master, folder / "int8.onnx")
    check_graph(folder / "int8.onnx")
    onnx.save(qdq.cpu_form(master), folder / "model.onnx")


class _Reader(CalibrationDataReader):  # type: ignore[misc] # onnxruntime has no types, and modelopt asks for its class
    """Feeds in the form in which Model Optimizer asks for them."""

    def __init__(self, feeds: Sequence[Feed], shown: Iterable[Feed]) -> None:
        self._feeds, self._next = feeds, iter(shown)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next feed."""
        feed = next(self._next, None)
        return None if feed is None else dict(feed)

    def get_first(self) -> dict[str, NDArray[Any]]:
        """The first feed."""
        return dict(self._feeds[0])

    def rewind(self) -> None:
        """Start again."""
        self._next = iter(self._feeds)


def _place(graph: Path, reader: _Reader, first: Feed, method: str) -> ModelProto:
    """Q/DQ pairs around the linear layers, weights still fp32."""
    with quiet(), tempfile.TemporaryDirectory() as folder:
        from modelopt.onnx.quantization import quantize

        quantize(
            str(graph),
            calibration_method=method,
            calibration_data_reader=reader,
            calibration_shapes=",".join(f"{name}:{'x'.join(map(str, value.shape))}" for name, value in first.items()),
            calibration_eps=["cpu"],
            op_types_to_quantize=list(qdq.LINEAR),
            disable_mha_qdq=True,
            high_precision_dtype="fp32",
            output_path=f"{folder}/placed.onnx",
            log_level="ERROR",
        )
        return onnx.load(f"{folder}/placed.onnx")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Model Optimizer's own bars, logs and warnings."""
    level = logging.root.manager.disable
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)


def percentiles(
    reference: ModelProto, names: Sequence[str], feeds: Sequence[Feed], wanted: Sequence[float]
) -> list[dict[str, float]]:
    """Percentiles of |x| of each named tensor over all feeds, from histograms whose bins follow a first pass."""
    watched = ModelProto.FromString(reference.SerializeToString())
    watched.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    running = session(watched)
    most = np.zeros(len(names))
    for feed in feeds:
        most = np.maximum(most, [np.abs(value).max() for value in running.run(list(names), dict(feed))])
    if broken := [name for name, value in zip(names, most, strict=True) if not np.isfinite(value)]:
        raise ArtefactError(f"{broken[0]} holds infinities or NaN on the calibration set; train the network again")
    counts = np.zeros((len(names), BINS))
    for feed in feeds:
        for place, value in enumerate(running.run(list(names), dict(feed))):
            counts[place] += np.histogram(np.abs(value), bins=BINS, range=(0, most[place] or 1))[0]
    shares = counts.cumsum(1) / counts.sum(1, keepdims=True)
    ends = [np.minimum(1 + (shares < one / 100).sum(1), BINS) for one in wanted]
    return [dict(zip(names, (most * end / BINS).tolist(), strict=True)) for end in ends]
