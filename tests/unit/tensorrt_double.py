"""A recording double of TensorRT. It is no TensorRT: it says nothing of what one would accept, build or answer.

It has the names of the Python API that `build/engines` uses (`test_engine_double` holds it to the real ones), notes
every call, holds the caller to the API's own rules (a strongly typed network, profiles that cover the dynamic inputs,
addresses for every tensor) and raises where a rule is broken. Its "plan" is the ONNX file with a header; its "engine"
is in `engine_double`.
"""
# ruff: noqa: N802

import enum
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from tests.unit.engine_double import MAGIC, ExecutionContextAllocationStrategy, LayerInformationFormat, RuntimeDouble


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        self.ready = True


class IProgressMonitor:
    def __init__(self) -> None:
        self.ready = True


class BuilderFlag(enum.Enum):
    """Without the precision flags, which TensorRT 11 has not."""

    REFIT = "REFIT"
    VERSION_COMPATIBLE = "VERSION_COMPATIBLE"


class ProfilingVerbosity(enum.Enum):
    DETAILED = "DETAILED"


class WithFlag(enum.IntEnum):
    """TensorRT 10 and 11: the flag is there; 11 ignores it."""

    STRONGLY_TYPED = 1


class WithoutFlag(enum.IntEnum):
    """A TensorRT that has dropped the flag."""

    PREFER_AOT_PYTHON_PLUGINS = 2


class TensorRTDouble:
    """Stands where the module `tensorrt` would."""

    ILogger = ILogger
    IProgressMonitor = IProgressMonitor
    BuilderFlag = BuilderFlag
    ProfilingVerbosity = ProfilingVerbosity
    LayerInformationFormat = LayerInformationFormat
    ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy

    def __init__(self, version: str = "10.15.1.29", *, flag: bool = True) -> None:
        self.__version__ = version
        self.NetworkDefinitionCreationFlag = WithFlag if flag else WithoutFlag
        self.calls: list[tuple[Any, ...]] = []
        self.build_error = ""
        self.load_error = ""
        self.context_error = ""
        self.inspects = True
        """Whether an engine has an inspector."""
        self.layers: str | None = '{"Layers": [{"Name": "a layer", "LayerType": "gemm"}], "I/O Tensors": []}'
        """What it answers."""
        self.refused_timings: set[bytes] = set()
        self.during_build: Callable[[], None] = lambda: None
        self.outputs_times = 1.0
        """What the engine's float outputs are multiplied by: an engine that differs from its graph."""
        self.during_run: Callable[[dict[str, tuple[int, ...]]], None] = lambda shapes: None
        """Is given the shapes of each run, and may raise."""

    def named(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of every call of this name."""
        return [call[1:] for call in self.calls if call[0] == name]

    def Builder(self, logger: object) -> "BuilderDouble":
        assert isinstance(logger, ILogger)
        assert logger.ready
        return BuilderDouble(self, logger)

    def OnnxParser(self, network: "NetworkDouble", logger: object) -> "ParserDouble":
        assert isinstance(logger, ILogger)
        return ParserDouble(self, network)

    def Runtime(self, logger: object) -> RuntimeDouble:
        assert isinstance(logger, ILogger)
        return RuntimeDouble(self, logger)

    @staticmethod
    def nptype(trt_type: Any) -> type:
        return trt_type


class NetworkDouble:
    graph = b""


class ParserDouble:
    def __init__(self, trt: TensorRTDouble, network: NetworkDouble) -> None:
        self._trt, self._network = trt, network

    def parse_from_file(self, model: str) -> bool:
        assert isinstance(model, str)
        self._trt.calls.append(("parse", model))
        self._network.graph = Path(model).read_bytes()
        return True


class TimingCacheDouble:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content


class ProfileDouble:
    def __init__(self) -> None:
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]) -> None:
        self.shapes[input] = [min, opt, max]

    def __bool__(self) -> bool:
        return all(a <= b <= c for shapes in self.shapes.values() for a, b, c in zip(*shapes, strict=True)) and bool(
            self.shapes
        )


class ConfigDouble:
    """Takes the attributes that are set here and no others."""

    __slots__ = ("_cache", "_trt", "flags", "profiles", "profiling_verbosity", "progress_monitor")

    def __init__(self, trt: TensorRTDouble) -> None:
        self._trt = trt
        self.flags: set[BuilderFlag] = set()
        self.profiles: list[ProfileDouble] = []
        self._cache: TimingCacheDouble | None = None
        self.progress_monitor: Any = None
        self.profiling_verbosity: Any = None

    def set_flag(self, flag: BuilderFlag) -> None:
        self._trt.calls.append(("set_flag", flag))
        self.flags.add(flag)

    def add_optimization_profile(self, profile: ProfileDouble) -> int:
        self._trt.calls.append(("add_optimization_profile", dict(profile.shapes)))
        self.profiles.append(profile)
        return len(self.profiles) - 1 if profile else -1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCacheDouble | None:
        self._trt.calls.append(("create_timing_cache", serialized_timing_cache))
        return (
            None if serialized_timing_cache in self._trt.refused_timings else TimingCacheDouble(serialized_timing_cache)
        )

    def set_timing_cache(self, cache: TimingCacheDouble, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self._trt.calls.append(("set_timing_cache", cache.content))
        self._cache = cache
        return True

    def get_timing_cache(self) -> TimingCacheDouble:
        assert self._cache is not None
        return TimingCacheDouble(self._cache.content + b"+")


class BuilderDouble:
    PHASES = (("Building engine", None, 2), ("Timing kernels", "Building engine", 5))

    def __init__(self, trt: TensorRTDouble, logger: Any) -> None:
        self._trt, self._logger = trt, logger

    def create_network(self, flags: int) -> NetworkDouble:
        self._trt.calls.append(("create_network", flags))
        if self._trt.NetworkDefinitionCreationFlag is WithFlag:
            assert flags == 1 << int(WithFlag.STRONGLY_TYPED)
        else:
            assert flags == 0
        return NetworkDouble()

    def create_builder_config(self) -> ConfigDouble:
        return ConfigDouble(self._trt)

    def create_optimization_profile(self) -> ProfileDouble:
        return ProfileDouble()

    def build_serialized_network(self, network: NetworkDouble, config: ConfigDouble) -> bytes | None:
        assert config.profiling_verbosity is ProfilingVerbosity.DETAILED
        assert isinstance(config.progress_monitor, IProgressMonitor)
        assert config.progress_monitor.ready
        model = onnx.load_from_string(network.graph)
        dynamic = {one.name for one in model.graph.input}
        assert all(dynamic == set(profile.shapes) for profile in config.profiles)
        assert config.profiles
        if not self._phases(config.progress_monitor):
            return None
        if self._trt.build_error:
            self._logger.log(Severity.VERBOSE, "small talk")
            self._logger.log(Severity.WARNING, "a warning that is no cause")
            self._logger.log(Severity.ERROR, self._trt.build_error)
            return None
        header = {
            "version": self._trt.__version__,
            "flags": sorted(flag.value for flag in config.flags),
            "profiles": [profile.shapes for profile in config.profiles],
        }
        return MAGIC + json.dumps(header).encode() + b"\n" + network.graph

    def _phases(self, monitor: Any) -> bool:
        for name, parent, steps in self.PHASES:
            monitor.phase_start(name, parent, steps)
            for step in range(steps):
                self._trt.during_build()
                self._trt.calls.append(("step", name, step))
                if not monitor.step_complete(name, step):
                    monitor.phase_finish(name)
                    return False
            monitor.phase_finish(name)
        return True
