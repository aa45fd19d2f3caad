"""The engines of `tensorrt_double`: the ONNX graph run by onnxruntime on the memory whose addresses it was given.

So shapes, types and buffers are exercised too. It says nothing of what TensorRT would answer.
"""

import ctypes
import enum
import json
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import torch

MAGIC = b"no plan of TensorRT\n"
TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(int8)": np.int8}


class LayerInformationFormat(enum.Enum):
    JSON = "JSON"


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = "STATIC"
    ON_PROFILE_CHANGE = "ON_PROFILE_CHANGE"


class RuntimeDouble:
    engine_host_code_allowed = False

    def __init__(self, trt: Any, logger: Any) -> None:
        self._trt, self._logger = trt, logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "EngineDouble | None":
        magic, header, graph = serialized_engine.split(b"\n", 2)
        told = json.loads(header)
        if magic + b"\n" != MAGIC or told["version"] != self._trt.__version__ or self._trt.load_error:
            self._logger.log(self._trt.ILogger.Severity.ERROR, self._trt.load_error or "serialization version mismatch")
            return None
        assert ("VERSION_COMPATIBLE" in told["flags"]) == self.engine_host_code_allowed
        return EngineDouble(self._trt, self._logger, graph, told["profiles"])


class InspectorDouble:
    def __init__(self, told: str | None) -> None:
        self._told = told

    def get_engine_information(self, format: LayerInformationFormat) -> str | None:
        assert format is LayerInformationFormat.JSON
        return self._told


class EngineDouble:
    def __init__(self, trt: Any, logger: Any, graph: bytes, profiles: list[dict[str, list[list[int]]]]) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.trt, self.logger, self.profiles = trt, logger, profiles
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.inputs = [one.name for one in self.session.get_inputs()]
        self.tensors = {one.name: TYPES[one.type] for one in (*self.session.get_outputs(), *self.session.get_inputs())}
        self.num_io_tensors = len(self.tensors)
        self.num_optimization_profiles = len(profiles)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_dtype(self, name: str) -> type:
        return self.tensors[name]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[list[int]]:
        return self.profiles[profile_index][name]

    def create_engine_inspector(self) -> InspectorDouble | None:
        return InspectorDouble(self.trt.layers) if self.trt.inspects else None

    def create_execution_context(self, strategy: ExecutionContextAllocationStrategy) -> "ContextDouble | None":
        self.trt.calls.append(("create_execution_context", strategy))
        if self.trt.context_error:
            self.logger.log(self.trt.ILogger.Severity.ERROR, self.trt.context_error)
            return None
        return ContextDouble(self)


class ContextDouble:
    def __init__(self, engine: EngineDouble) -> None:
        self._engine = engine
        self._profile: int | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert isinstance(stream_handle, int)
        self._engine.trt.calls.append(("set_optimization_profile", profile_index))
        self._profile = profile_index
        return profile_index < self._engine.num_optimization_profiles

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self._profile is not None
        least, _, most = self._engine.profiles[self._profile][name]
        self._shapes[name] = shape
        return all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """By the names that the graph gives its dims."""
        session = self._engine.session
        sizes = {
            dim: size
            for one in session.get_inputs()
            for dim, size in zip(one.shape, self._shapes[one.name], strict=True)
        }
        (output,) = (one for one in session.get_outputs() if one.name == name)
        return tuple(sizes.get(dim, dim) for dim in output.shape)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return memory != 0 and name in self._engine.tensors

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert set(self._addresses) == set(self._engine.tensors)
        self._engine.trt.during_run(dict(self._shapes))
        outputs = self._run(self._read)
        for one, array in zip(self._engine.session.get_outputs(), outputs, strict=True):
            answer = np.ascontiguousarray(array * array.dtype.type(self._engine.trt.outputs_times))
            ctypes.memmove(self._addresses[one.name], answer.ctypes.data, answer.nbytes)
        return True

    def _read(self, name: str, shape: tuple[int, ...]) -> Any:
        dtype = np.dtype(self._engine.tensors[name])
        return np.frombuffer(ctypes.string_at(self._addresses[name], math.prod(shape) * dtype.itemsize), dtype).reshape(
            shape
        )

    def _run(self, array: Callable[[str, tuple[int, ...]], Any]) -> list[Any]:
        return self._engine.session.run(None, {name: array(name, shape) for name, shape in self._shapes.items()})


class CpuDevice:
    """The memory of this process in place of a GPU's."""

    name = "No GPU at all"
    handle = 0

    def __init__(self, compute_capability: str = "9.0") -> None:
        self.compute_capability = compute_capability

    def put(self, array: Any) -> torch.Tensor:
        return torch.from_numpy(array.copy())

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.full(shape, 77, dtype=dtype)

    def finish(self) -> None:
        pass

    def milliseconds(self, work: Callable[[], object]) -> float:
        begun = time.perf_counter()
        work()
        return (time.perf_counter() - begun) * 1000
