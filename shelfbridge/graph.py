"""A network of a release as a step: its ONNX graph in onnxruntime, set up as its config says.

The same object is a step of a pipeline in one process, stands in for Triton's onnxruntime backend where the server
lacks it, and computes features offline. It reads the parameters of the official C++ backend, so one config serves both.
One difference is on purpose: threads that wait for work sleep rather than spin, because they share the cores with the
other steps.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from shelfbridge.errors import ArtefactError
from shelfbridge.release import NOTHING, Snapshot
from shelfbridge.steps.step import Arrays

ONNX_TYPES = {
    "TYPE_BOOL": "tensor(bool)",
    "TYPE_INT8": "tensor(int8)",
    "TYPE_UINT8": "tensor(uint8)",
    "TYPE_INT16": "tensor(int16)",
    "TYPE_INT32": "tensor(int32)",
    "TYPE_INT64": "tensor(int64)",
    "TYPE_FP16": "tensor(float16)",
    "TYPE_FP32": "tensor(float)",
    "TYPE_FP64": "tensor(double)",
    "TYPE_STRING": "tensor(string)",
}
Config = Mapping[str, Any]
"""A model's config as Triton hands it to a backend: JSON of the protobuf, with its own field names."""
FILE = "model.onnx"


class Graph:
    """One network."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self.session = session
        self.inputs = [tensor.name for tensor in session.get_inputs()]
        self.outputs = [tensor.name for tensor in session.get_outputs()]

    @classmethod
    def open(cls, folder: Path, config: Config) -> "Graph":
        """Open the graph in a model's version folder and hold its tensors against the config.

        Raises:
            ArtefactError: the file is missing or damaged, or its tensors are not those of the config.
        """
        path = folder / (config.get("default_model_filename") or FILE)
        graph = cls(open_session(path, options(config)))
        batched = int(config.get("max_batch_size", 0)) > 0
        _check(path, "input", graph.session.get_inputs(), config.get("input", ()), batched)
        _check(path, "output", graph.session.get_outputs(), config.get("output", ()), batched)
        graph.outputs = [tensor["name"] for tensor in config["output"]]
        return graph

    def run(self, arrays: Arrays, now: Snapshot = NOTHING) -> Arrays:
        """Return the outputs for one request, without the batch dimension on either side."""
        outputs = self.session.run(self.outputs, {name: arrays[name][None] for name in self.inputs})
        return {name: array[0] for name, array in zip(self.outputs, outputs, strict=True)}

    def run_batch(self, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> list[list[NDArray[Any]]]:
        """Return the outputs of requests whose arrays, batch first, fit together, in the order of `outputs`."""
        if len(feeds) == 1:
            return [self.session.run(self.outputs, feeds[0])]
        joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
        outputs = self.session.run(self.outputs, joined)
        ends = np.cumsum([len(next(iter(feed.values()))) for feed in feeds])[:-1]
        return [list(answer) for answer in zip(*(np.split(output, ends) for output in outputs), strict=True)]


def open_session(
    source: Path | bytes, chosen: ort.SessionOptions | None = None, *, threads: int = 1
) -> ort.InferenceSession:
    """Return a session on the CPU.

    Args:
        source: path of the ONNX file, or its content.
        chosen: options; without them, those of `threads`.
        threads: that compute; 0 is one per core.

    Raises:
        ArtefactError: the file is missing or damaged.
    """
    if isinstance(source, Path) and not source.is_file():
        raise ArtefactError(f"{source} is missing; build the release again")
    if chosen is None:
        chosen = ort.SessionOptions()
        chosen.intra_op_num_threads = threads
    try:
        return ort.InferenceSession(source, chosen, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception class per status and no common one
        first, name = str(error).splitlines()[0], source if isinstance(source, Path) else "a graph"
        raise ArtefactError(f"{name} cannot be read as an ONNX model ({first}); build the release again") from error


def options(config: Config) -> ort.SessionOptions:
    """Return a session's options from the official backend's parameters; 0 threads is one per core."""
    given = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
    chosen = ort.SessionOptions()
    chosen.intra_op_num_threads = int(given.get("intra_op_thread_count", 0))
    chosen.inter_op_num_threads = int(given.get("inter_op_thread_count", 0))
    chosen.execution_mode = (
        ort.ExecutionMode.ORT_PARALLEL if given.get("execution_mode") == "1" else ort.ExecutionMode.ORT_SEQUENTIAL
    )
    chosen.enable_cpu_mem_arena = given.get("enable_mem_arena", "1") == "1"
    chosen.enable_mem_pattern = given.get("enable_mem_pattern", "1") == "1"
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return chosen


def _check(path: Path, kind: str, found: Sequence[Any], wanted: Sequence[Config], batched: bool) -> None:
    tensors = {tensor.name: tensor for tensor in found}
    for tensor in wanted:
        name, dims = tensor["name"], [int(dim) for dim in tensor["dims"]]
        if name not in tensors:
            raise ArtefactError(f"{path} has no {kind} {name!r} as its config wants; it has {', '.join(tensors)}")
        shape, dtype = tensors[name].shape[batched:], tensors[name].type
        fits = len(shape) == len(dims) and all(
            not isinstance(size, int) or dim == size for size, dim in zip(shape, dims, strict=True)
        )
        if dtype != ONNX_TYPES.get(tensor["data_type"]) or not fits:
            raise ArtefactError(
                f"{path}: {kind} {name!r} is {dtype} {shape}, but {tensor['data_type']} {dims} in its config"
            )
    if kind == "input" and (more := tensors.keys() - {tensor["name"] for tensor in wanted}):
        raise ArtefactError(f"{path} needs the input {', '.join(sorted(more))}, which its config does not name")
