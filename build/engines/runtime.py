"""An engine that answers like an onnxruntime session, so that whatever runs the one runs the other.

One execution context per optimization profile, as Triton has them; the profile is the one that admits the shapes.
Buffers are PyTorch tensors on the GPU.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from build.engines.api import make_logger
from shelfbridge import contract
from shelfbridge.engine import CURE, PLAN, RECORD, Range, Shape, plan_refusal, read_record, refusal
from shelfbridge.errors import ArtefactError, PrerequisiteError

MEMORY = (
    "free the GPU's memory, or lower max_batch_size in the model's config.pbtxt (model_repository), build the release "
    "again and then its engines"
)
"""The cure where a context cannot be made: of memory it takes what the largest shape of its profile needs."""
cuda: Any = torch.cuda
"""PyTorch leaves parts of it untyped."""


class Gpu:
    """The first CUDA device: where an engine's buffers are, and a stream of its own that work is queued in."""

    def __init__(self) -> None:
        try:
            cuda.init()
        except (RuntimeError, AssertionError) as error:  # the latter from a PyTorch without CUDA
            raise PrerequisiteError(
                f"no CUDA device can be used here ({str(error).splitlines()[0]}); update the driver if it is too old "
                "for the image, give the container its GPU by the NVIDIA Container Toolkit, and build the engines on "
                "the GPU that serves them (make engines)"
            ) from error
        properties = torch.cuda.get_device_properties(0)
        self.name = properties.name
        self.compute_capability = f"{properties.major}.{properties.minor}"
        self._stream = cuda.Stream(0)
        self.handle = int(self._stream.cuda_stream)

    def put(self, array: NDArray[Any]) -> torch.Tensor:
        """A copy of an array on the GPU."""
        with torch.cuda.stream(self._stream):
            return torch.from_numpy(array).to("cuda:0")

    def empty(self, shape: Shape, dtype: torch.dtype) -> torch.Tensor:
        """Room on the GPU."""
        with torch.cuda.stream(self._stream):
            return torch.empty(shape, dtype=dtype, device="cuda:0")

    def finish(self) -> None:
        """Wait for the stream."""
        self._stream.synchronize()

    def milliseconds(self, work: Callable[[], object]) -> float:
        """Time between two events around the queued work."""
        begun, done = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        begun.record(self._stream)
        work()
        done.record(self._stream)
        done.synchronize()
        return float(begun.elapsed_time(done))


class EngineSession:
    """A loaded plan. `run(None, feeds)` is that of `onnxruntime.InferenceSession`."""

    def __init__(self, folder: Path, *, trt: ModuleType, device: Gpu) -> None:
        """Load the plan and the record of a folder.

        Raises:
            ArtefactError: the plan is not the recorded one, is not for this TensorRT or GPU, or does not load.
        """
        record = read_record(folder / RECORD)
        self._plan, self._device, self._logger = folder / PLAN, device, make_logger(trt)
        self._memory = trt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE  # as the adapted configs have it
        refused = refusal(record, trt.__version__, device.compute_capability) or plan_refusal(record, self._plan)
        if refused:
            raise ArtefactError(refused)
        model = contract.MODELS[record.model]
        self.inputs = [tensor.name for tensor in model.inputs]
        self.outputs = [tensor.name for tensor in model.outputs]
        self._runtime = trt.Runtime(self._logger)
        self._runtime.engine_host_code_allowed = record.version_compatible
        self._engine = self._runtime.deserialize_cuda_engine(self._plan.read_bytes())
        if self._engine is None:
            raise self._failed("cannot be loaded")
        names = {self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)}
        if names != {*self.inputs, *self.outputs}:
            raise ArtefactError(f"{self._plan} has the tensors {', '.join(sorted(names))}, not the model's; {CURE}")
        self._dtypes: dict[str, np.dtype[Any]] = {
            name: np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))) for name in names
        }
        self.profiles = [self._profile(index) for index in range(self._engine.num_optimization_profiles)]
        self._contexts: dict[int, Any] = {}

    def run(self, outputs: None, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """All outputs for these inputs, in the contract's order.

        Raises:
            ArtefactError: an input is missing or of another type, or no profile admits the shapes.
        """
        context, buffers = self._prepare(feeds)
        self._execute(context)
        self._device.finish()
        return [buffers[name].cpu().numpy() for name in self.outputs]

    def time(self, feeds: Mapping[str, NDArray[Any]], runs: int) -> NDArray[np.float64]:
        """Milliseconds of each of some runs on the device, without the copies to and from it; a tenth go before."""
        context, _buffers = self._prepare(feeds)
        for _ in range(1 + runs // 10):
            self._execute(context)
        return np.array([self._device.milliseconds(lambda: self._execute(context)) for _ in range(runs)])

    def _prepare(self, feeds: Mapping[str, NDArray[Any]]) -> tuple[Any, dict[str, torch.Tensor]]:
        """A context of the right profile with all addresses set, and the buffers that must outlive its work."""
        for name in self.inputs:
            if name not in feeds or feeds[name].dtype != self._dtypes[name]:
                found = feeds[name].dtype if name in feeds else "nothing"
                raise ArtefactError(
                    f"{self._plan} wants {self._dtypes[name]} for {name} and was given {found}; give it the names and "
                    "types of shelfbridge.contract"
                )
        context = self._context(self.choose({name: feeds[name].shape for name in self.inputs}))
        buffers = {name: self._device.put(np.ascontiguousarray(feeds[name])) for name in self.inputs}
        for name in self.inputs:
            if not context.set_input_shape(name, tuple(feeds[name].shape)):
                raise self._failed(f"refuses {name} of shape {feeds[name].shape}")
        for name in self.outputs:
            kind = torch.from_numpy(np.empty(0, self._dtypes[name])).dtype
            buffers[name] = self._device.empty(tuple(context.get_tensor_shape(name)), kind)
        for name, buffer in buffers.items():
            if not context.set_tensor_address(name, buffer.data_ptr()):
                raise self._failed(f"refuses the buffer of {name}")
        return context, buffers

    def choose(self, shapes: Mapping[str, Shape]) -> int:
        """The profile that admits these shapes.

        Raises:
            ArtefactError: none does.
        """
        for index, profile in enumerate(self.profiles):
            if all(profile[name].admits(tuple(shape)) for name, shape in shapes.items()):
                return index
        raise ArtefactError(f"{self._plan}: no optimization profile admits {dict(shapes)}; {CURE}")

    def _context(self, profile: int) -> Any:
        if profile not in self._contexts:
            context = self._engine.create_execution_context(self._memory)
            if context is None or not context.set_optimization_profile_async(profile, self._device.handle):
                raise self._failed(f"makes no context for profile {profile}", MEMORY)
            self._contexts[profile] = context
        return self._contexts[profile]

    def _execute(self, context: Any) -> None:
        if not context.execute_async_v3(self._device.handle):
            raise self._failed("failed on an input")

    def _profile(self, index: int) -> dict[str, Range]:
        shapes = {name: self._engine.get_tensor_profile_shape(name, index) for name in self.inputs}
        return {
            name: Range(min=tuple(least), opt=tuple(usual), max=tuple(most))
            for name, (least, usual, most) in shapes.items()
        }

    def _failed(self, what: str, cure: str = CURE) -> ArtefactError:
        return ArtefactError(f"{self._plan} {what} ({self._logger.cause()}); {cure}")
