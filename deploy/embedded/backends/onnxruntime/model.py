"""Stand-in for Triton's onnxruntime backend, which the wheel of the embedded server lacks.

Triton takes this file as the backend of every model whose config says `backend: "onnxruntime"`, and runs it in the
Python backend. It reads the parameters of the official C++ backend, so the same config serves both. One difference is
on purpose: threads that wait for work sleep rather than spin, because here they share the cores with the other steps.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb
from numpy.typing import NDArray

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


class TritonPythonModel:
    """One instance of one ONNX model."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load `<version>/model.onnx` and hold it against the config.

        Raises:
            RuntimeError: the file is missing or damaged, or its tensors are not those of the config.
        """
        config = json.loads(args["model_config"])
        path = (
            Path(args["model_repository"])
            / args["model_version"]
            / (config.get("default_model_filename") or "model.onnx")
        )
        self.session = open_session(path, config)
        check(path, "input", self.session.get_inputs(), config["input"], config["max_batch_size"] > 0)
        check(path, "output", self.session.get_outputs(), config["output"], config["max_batch_size"] > 0)
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]
        self.batched = config["max_batch_size"] > 0

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Requests of equal shapes go through the model together; a group that fails is tried one by one."""
        feeds = [
            [pb.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs] for request in requests
        ]
        groups: dict[Any, list[int]] = defaultdict(list)
        for place, feed in enumerate(feeds):
            groups[tuple(array.shape[1:] for array in feed) if self.batched else place].append(place)
        responses: list[Any] = [None] * len(requests)
        for places in groups.values():
            for place, response in zip(places, self.group([feeds[place] for place in places]), strict=True):
                responses[place] = response
        return responses

    def group(self, feeds: Sequence[list[NDArray[Any]]]) -> list[Any]:
        """The responses to requests that fit together."""
        try:
            answers = self.run(feeds)
        except Exception as error:
            if len(feeds) > 1:
                return [response for feed in feeds for response in self.group([feed])]
            pb.Logger.log_error(str(error))
            return [pb.InferenceResponse(error=pb.TritonError("the model failed on this input; see the server's log"))]
        return [
            pb.InferenceResponse([pb.Tensor(name, array) for name, array in zip(self.outputs, answer, strict=True)])
            for answer in answers
        ]

    def run(self, feeds: Sequence[list[NDArray[Any]]]) -> list[list[NDArray[Any]]]:
        """The outputs of each request."""
        if len(feeds) == 1:
            return [self.session.run(self.outputs, dict(zip(self.inputs, feeds[0], strict=True)))]
        joined = {
            name: np.concatenate(arrays) for name, arrays in zip(self.inputs, zip(*feeds, strict=True), strict=True)
        }
        outputs = self.session.run(self.outputs, joined)
        ends = np.cumsum([len(feed[0]) for feed in feeds])[:-1]
        return [list(answer) for answer in zip(*(np.split(output, ends) for output in outputs), strict=True)]


def open_session(path: Path, config: Mapping[str, Any]) -> ort.InferenceSession:
    """The session of a model file, set up as the config says.

    Raises:
        RuntimeError: the file is missing or damaged.
    """
    if not path.is_file():
        raise RuntimeError(f"{path} is missing; build the release again")
    try:
        return ort.InferenceSession(str(path), options(config), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception class per status and no common one
        raise RuntimeError(f"{path} cannot be read as an ONNX model ({error}); build the release again") from error


def options(config: Mapping[str, Any]) -> ort.SessionOptions:
    """The session's options from the official backend's parameters; 0 threads is one per core."""
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


def check(path: Path, kind: str, found: Sequence[Any], wanted: Sequence[Mapping[str, Any]], batched: bool) -> None:
    """Hold the model's tensors against the config's.

    Raises:
        RuntimeError: a tensor is missing, or its type or shape is another.
    """
    tensors = {tensor.name: tensor for tensor in found}
    for tensor in wanted:
        name, dims = tensor["name"], [int(dim) for dim in tensor["dims"]]
        if name not in tensors:
            raise RuntimeError(f"{path} has no {kind} {name!r} as its config wants; it has {', '.join(tensors)}")
        shape, dtype = tensors[name].shape[batched:], tensors[name].type
        fits = len(shape) == len(dims) and all(
            not isinstance(size, int) or dim == size for size, dim in zip(shape, dims, strict=True)
        )
        if dtype != ONNX_TYPES.get(tensor["data_type"]) or not fits:
            raise RuntimeError(
                f"{path}: {kind} {name!r} is {dtype} {shape}, but {tensor['data_type']} {dims} in its config"
            )
    if kind == "input" and (more := tensors.keys() - {tensor["name"] for tensor in wanted}):
        raise RuntimeError(f"{path} needs the input {', '.join(sorted(more))}, which its config does not name")
