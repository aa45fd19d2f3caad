"""An ONNX master to a TensorRT plan: one code path for TensorRT 10.12 and later, 11 included.

The network is strongly typed and no precision flag is set: the types are those of the graph, so what was measured with
onnxruntime is what is built. The build runs in a thread of its own; Ctrl-C in the main one is handed to TensorRT
through its progress monitor, and the build ends at the next step.
"""

import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID
from typing_extensions import Buffer

from build.engines.api import Builder, BuilderConfig, Messages, OnnxParser, TensorRT, make_logger, network_flags
from build.engines.buckets import Profile
from build.progress import progress
from shelfbridge.errors import ArtefactError

MEGABYTE = 2**20


@dataclass(frozen=True)
class Options:
    """What the builder is told beside graph and profiles."""

    version_compatible: bool = False
    """Loadable by newer minor versions of the same major; somewhat slower."""
    refittable: bool = False
    """Weights can be exchanged without a new build."""
    workspace_mb: int | None = None
    """Most GPU memory that a kernel may use beside its tensors; None is all there is."""


@dataclass(frozen=True)
class Built:
    """A serialised plan, what TensorRT tells of its layers (JSON), and how long it took."""

    plan: bytes
    layers: str
    seconds: float


def build_plan(
    trt: TensorRT, graph: Path, profiles: Sequence[Profile], options: Options, *, cache: Path, console: Console
) -> Built:
    """Build an engine.

    Args:
        cache: file of the kernels' timings; read if it is there, and written. Of one GPU and TensorRT version only.

    Raises:
        ArtefactError: the parser refuses the graph, or the builder fails; the message has TensorRT's own.
        KeyboardInterrupt: the build was cancelled.
    """
    begun = time.monotonic()
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(network_flags(trt))
    parse(trt.OnnxParser(network, logger), graph)
    config = builder.create_builder_config()
    configure(trt, config, options)
    for number, profile in enumerate(profiles):
        add_profile(builder, config, profile, number, graph)
    read_timings(config, cache)
    serialised = serialise(trt, builder, network, config, console=console)
    if serialised is None:
        raise ArtefactError(
            f"TensorRT builds no engine from {graph}: {logger.cause()}; free the GPU's memory, or set --workspace-mb"
        )
    write_timings(config, cache)
    plan = bytes(serialised)
    return Built(plan, inspect(trt, plan, options, logger), time.monotonic() - begun)


def parse(parser: OnnxParser, graph: Path) -> None:
    """Read the graph into the parser's network.

    Raises:
        ArtefactError: it is refused; every error is named by its node.
    """
    if parser.parse_from_file(str(graph)):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    nodes = "; ".join(
        f"node {error.node_name() or error.node()} ({error.node_operator() or 'no operator'}): {error.desc()}"
        for error in errors
    )
    raise ArtefactError(f"TensorRT's parser refuses {graph}: {nodes or 'it gave no reason'}; export the graph again")


def configure(trt: TensorRT, config: BuilderConfig, options: Options) -> None:
    """Set the options, none of them a precision."""
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.refittable:
        config.set_flag(trt.BuilderFlag.REFIT)
    if options.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb * MEGABYTE)


def add_profile(builder: Builder, config: BuilderConfig, profile: Profile, number: int, graph: Path) -> None:
    """Add an optimization profile.

    Raises:
        ArtefactError: TensorRT does not take it, or gives it another number.
    """
    made = builder.create_optimization_profile()
    for name, shapes in profile.items():
        made.set_shape(name, shapes.min, shapes.opt, shapes.max)
    if not made or config.add_optimization_profile(made) != number:
        raise ArtefactError(f"TensorRT refuses profile {number} of {graph}: {profile}; build the release again")


def read_timings(config: BuilderConfig, cache: Path) -> None:
    """Start from the timings of earlier builds; a file that TensorRT does not take is as good as none."""
    found = config.create_timing_cache(cache.read_bytes() if cache.is_file() else b"")
    if found is None or not config.set_timing_cache(found, False):
        empty = config.create_timing_cache(b"")
        if empty is not None:
            config.set_timing_cache(empty, False)


def write_timings(config: BuilderConfig, cache: Path) -> None:
    """Keep the timings for later builds."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    unfinished = cache.with_suffix(".unfinished")
    unfinished.write_bytes(bytes(config.get_timing_cache().serialize()))
    unfinished.replace(cache)


def inspect(trt: TensorRT, plan: bytes, options: Options, logger: Messages) -> str:
    """What TensorRT tells of a plan's layers, as JSON.

    Raises:
        ArtefactError: it cannot load the plan again.
    """
    runtime = trt.Runtime(logger)
    runtime.engine_host_code_allowed = options.version_compatible
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise ArtefactError(f"TensorRT cannot load the plan that it built ({logger.cause()}); build it again")
    inspector = engine.create_engine_inspector()
    told = None if inspector is None else inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        layers = json.loads(told or "")
    except (TypeError, ValueError):  # kept as it is: it is for people, and no reason to lose a good engine
        layers = {"unreadable": told}
    return json.dumps(layers, indent=1) + "\n"


class Watch:
    """Shows TensorRT's phases as bars and asks it to stop once `cancelled` is set."""

    def __init__(self, bar: Progress, cancelled: threading.Event) -> None:
        super().__init__()
        self._bar, self._cancelled, self._tasks = bar, cancelled, dict[str, TaskID]()

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """A phase begins."""
        self._tasks[phase_name] = self._bar.add_task(phase_name, total=num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """A step of a phase is done; False ends the build."""
        if phase_name in self._tasks:
            self._bar.update(self._tasks[phase_name], completed=step + 1)
        return not self._cancelled.is_set()

    def phase_finish(self, phase_name: str) -> None:
        """A phase is over, whether or not all of its steps were reported."""
        if phase_name in self._tasks:
            self._bar.remove_task(self._tasks.pop(phase_name))


def serialise(
    trt: TensorRT, builder: Builder, network: Any, config: BuilderConfig, *, console: Console
) -> Buffer | None:
    """Run the builder under a progress bar; None where it failed.

    Raises:
        KeyboardInterrupt: Ctrl-C ended it.
    """
    cancelled = threading.Event()
    with progress(console) as bar, ThreadPoolExecutor(1, "tensorrt") as thread:
        bases: tuple[Any, ...] = (Watch, trt.IProgressMonitor)
        config.progress_monitor = type("Monitor", bases, {})(bar, cancelled)
        plan = _wait(thread.submit(builder.build_serialized_network, network, config), cancelled)
    if cancelled.is_set():
        raise KeyboardInterrupt
    return plan


def _wait(work: "Future[Buffer | None]", cancelled: threading.Event) -> Buffer | None:
    """The result of the work; Ctrl-C asks it to stop and goes on waiting."""
    while True:
        try:
            return work.result()
        except KeyboardInterrupt:
            if work.done():
                raise
            cancelled.set()
