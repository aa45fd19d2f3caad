"""The part of TensorRT's Python API that is used here, as protocols, and the one place that imports it.

Written by hand from the Apache-2.0 sources of its bindings, 10.12 to 11.1: the wheel has no type stubs. Every name
below exists in all of these versions.
"""

# ruff: noqa: D102, N802

import importlib
import logging
from collections.abc import Sequence
from typing import Any, Protocol, SupportsInt, cast

from typing_extensions import Buffer

from shelfbridge.engine import Shape
from shelfbridge.errors import PrerequisiteError

OLDEST = (10, 12)
"""From here on a strongly typed network without precision flags is all that fp16 and int8 need."""
LOG = logging.getLogger("tensorrt")
"""What TensorRT says, its small talk (VERBOSE) left out; the report has a file for it."""
LOG.setLevel(logging.INFO)
LOG.propagate = False
LOG.addHandler(logging.NullHandler())


class OptimizationProfile(Protocol):
    """IOptimizationProfile: true when every shape in it is valid."""

    def set_shape(self, input: str, min: Shape, opt: Shape, max: Shape) -> None: ...
    def __bool__(self) -> bool: ...


class TimingCache(Protocol):
    """ITimingCache."""

    def serialize(self) -> Buffer: ...


class ProgressMonitor(Protocol):
    """IProgressMonitor, called from several threads; False from `step_complete` cancels the build."""

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None: ...
    def step_complete(self, phase_name: str, step: int) -> bool: ...
    def phase_finish(self, phase_name: str) -> None: ...


class BuilderConfig(Protocol):
    """IBuilderConfig."""

    profiling_verbosity: Any
    progress_monitor: ProgressMonitor

    def set_flag(self, flag: Any) -> None: ...
    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None: ...
    def add_optimization_profile(self, profile: OptimizationProfile) -> int: ...
    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache | None: ...
    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool: ...
    def get_timing_cache(self) -> TimingCache: ...


class Builder(Protocol):
    """Builder."""

    def create_network(self, flags: int) -> Any: ...
    def create_builder_config(self) -> BuilderConfig: ...
    def create_optimization_profile(self) -> OptimizationProfile: ...
    def build_serialized_network(self, network: Any, config: BuilderConfig) -> Buffer | None: ...


class ParserError(Protocol):
    """ParserError."""

    def desc(self) -> str: ...
    def node(self) -> int: ...
    def node_name(self) -> str: ...
    def node_operator(self) -> str: ...


class OnnxParser(Protocol):
    """OnnxParser."""

    num_errors: int

    def parse_from_file(self, model: str) -> bool: ...
    def get_error(self, index: int) -> ParserError: ...


class EngineInspector(Protocol):
    """EngineInspector."""

    def get_engine_information(self, format: Any) -> str | None: ...


class ExecutionContext(Protocol):
    """IExecutionContext."""

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool: ...
    def set_input_shape(self, name: str, shape: Shape) -> bool: ...
    def get_tensor_shape(self, name: str) -> Sequence[int]: ...
    def set_tensor_address(self, name: str, memory: int) -> bool: ...
    def execute_async_v3(self, stream_handle: int) -> bool: ...


class CudaEngine(Protocol):
    """ICudaEngine."""

    num_io_tensors: int
    num_optimization_profiles: int

    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_dtype(self, name: str) -> Any: ...
    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Sequence[Sequence[int]]: ...
    def create_execution_context(self, strategy: Any) -> ExecutionContext | None: ...
    def create_engine_inspector(self) -> EngineInspector | None: ...


class Runtime(Protocol):
    """Runtime."""

    engine_host_code_allowed: bool

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> CudaEngine | None: ...


class Severities(Protocol):
    """Members of ILogger.Severity."""

    INTERNAL_ERROR: SupportsInt
    ERROR: SupportsInt
    WARNING: SupportsInt
    INFO: SupportsInt


class LoggerClass(Protocol):
    """The class ILogger, to be inherited from."""

    Severity: Severities


class TensorRT(Protocol):
    """The module `tensorrt`."""

    __version__: str
    ILogger: LoggerClass
    IProgressMonitor: type
    NetworkDefinitionCreationFlag: Any
    BuilderFlag: Any
    MemoryPoolType: Any
    ProfilingVerbosity: Any
    LayerInformationFormat: Any
    ExecutionContextAllocationStrategy: Any

    def Builder(self, logger: object) -> Builder: ...
    def OnnxParser(self, network: Any, logger: object) -> OnnxParser: ...
    def Runtime(self, logger: object) -> Runtime: ...
    def nptype(self, trt_type: Any) -> type: ...


def tensorrt() -> TensorRT:
    """The installed TensorRT.

    Raises:
        PrerequisiteError: there is none, it does not load, or it is too old.
    """
    cure = "build the engines in their container (make engines)"
    try:
        module = cast(TensorRT, importlib.import_module("tensorrt"))
    except (ImportError, OSError) as error:
        raise PrerequisiteError(f"TensorRT cannot be used here ({error}); {cure}") from error
    found = tuple(int(part) for part in module.__version__.split(".")[:2])
    if found < OLDEST:
        raise PrerequisiteError(f"TensorRT {module.__version__} is older than {OLDEST[0]}.{OLDEST[1]}; {cure}")
    return module


def network_flags(trt: TensorRT) -> int:
    """Flags of a strongly typed network; where the enumeration has no such member every network is one."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


class Messages:
    """Hands what TensorRT says to `LOG` and keeps its errors for the messages here."""

    TOLD = 3
    """Errors, the last ones, that a message repeats: TensorRT logs many for one cause."""

    def __init__(self, trt: TensorRT) -> None:
        super().__init__()
        self.errors: list[str] = []
        named = trt.ILogger.Severity
        self._levels = {
            int(named.INTERNAL_ERROR): logging.CRITICAL,
            int(named.ERROR): logging.ERROR,
            int(named.WARNING): logging.WARNING,
            int(named.INFO): logging.INFO,
        }

    def log(self, severity: SupportsInt, msg: str) -> None:
        """Called by TensorRT, from any thread."""
        level = self._levels.get(int(severity), logging.DEBUG)
        LOG.log(level, "%s", msg)
        if level >= logging.ERROR:
            self.errors.append(msg)

    def cause(self) -> str:
        """The last errors in one line."""
        return "; ".join(self.errors[-self.TOLD :]) or "it gave no reason"


def make_logger(trt: TensorRT) -> Messages:
    """A logger that TensorRT accepts. It must outlive all that is made with it."""
    bases: tuple[Any, ...] = (Messages, trt.ILogger)
    logger: Messages = type("Logger", bases, {})(trt)
    return logger
