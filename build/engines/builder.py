"""An ONNX master to a TensorRT plan: one code path for TensorRT 10.12 and later, 11 included.

The network is strongly typed and no precision flag is set: the types are those of the graph, so what was measured with
onnxruntime is what is built. The build runs in a thread of its own; Ctrl-C in the main one is handed to TensorRT
through its progress monitor, and the build ends at the next step.
"""

import json
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID

from build.engines.api import Messages, derived, make_logger, network_flags
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
class Network:
    """A graph that TensorRT's parser took, and what it was made with: all of it must live as long as the network."""

    trt: ModuleType
    graph: Path
    logger: Messages
    builder: Any
    definition: Any
    """TensorRT's INetworkDefinition."""

    @classmethod
    def parsed(cls, trt: ModuleType, graph: Path) -> "Network":
        """Let TensorRT's parser read a graph.

        Raises:
            ArtefactError: it refuses the graph; every error is named by its node.
        """
        logger = make_logger(trt)
        builder = trt.Builder(logger)
        definition = builder.create_network(network_flags(trt))
        parser = trt.OnnxParser(definition, logger)
        if parser.parse_from_file(str(graph)):
            return cls(trt, graph, logger, builder, definition)
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        nodes = "; ".join(
            f"node {error.node_name() or error.node()} ({error.node_operator() or 'no operator'}): {error.desc()}"
            for error in errors
        )
        raise ArtefactError(
            f"TensorRT's parser refuses {graph}: {nodes or logger.cause()}; change the model or its export"
        )

    def serialised(
        self, profiles: Sequence[Profile], options: Options, *, cache: Path | None = None, console: Console
    ) -> bytes:
        """Build a plan.

        Raises:
            ArtefactError: a profile is refused, or the builder fails.
            KeyboardInterrupt: the build was cancelled.
        """
        config = self.builder.create_builder_config()
        configure(self.trt, config, options)
        for number, profile in enumerate(profiles):
            self._add_profile(config, profile, number)
        if cache is not None:
            read_timings(config, cache)
        plan = self._run(config, console)
        if plan is None:
            raise ArtefactError(
                f"TensorRT builds no engine from {self.graph}: {self.logger.cause()}; free the GPU's memory, or set "
                "--workspace-mb"
            )
        if cache is not None:
            write_timings(config, cache)
        return plan

    def layers(self, plan: bytes, options: Options) -> str:
        """What TensorRT tells of a plan's layers, as JSON.

        Raises:
            ArtefactError: it cannot load the plan again.
        """
        runtime = self.trt.Runtime(self.logger)
        runtime.engine_host_code_allowed = options.version_compatible
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise ArtefactError(f"TensorRT cannot load the plan that it built ({self.logger.cause()}); build it again")
        inspector = engine.create_engine_inspector()
        told = None if inspector is None else inspector.get_engine_information(self.trt.LayerInformationFormat.JSON)
        try:
            layers = json.loads(told or "")
        except (TypeError, ValueError):  # kept as it is: it is for people, and no reason to lose a good engine
            layers = {"unreadable": told}
        return json.dumps(layers, indent=1) + "\n"

    def _run(self, config: Any, console: Console) -> bytes | None:
        """Run the builder under a progress bar, in a thread; None where it failed."""
        cancelled = threading.Event()
        with progress(console) as bar, ThreadPoolExecutor(1, "tensorrt") as thread:
            config.progress_monitor = derived(Watch, self.trt.IProgressMonitor)(bar, cancelled)
            plan = _wait(thread.submit(self.builder.build_serialized_network, self.definition, config), cancelled)
        if cancelled.is_set():
            raise KeyboardInterrupt
        return None if plan is None else bytes(plan)

    def _add_profile(self, config: Any, profile: Profile, number: int) -> None:
        made = self.builder.create_optimization_profile()
        for name, shapes in profile.items():
            made.set_shape(name, shapes.min, shapes.opt, shapes.max)
        if not made or config.add_optimization_profile(made) != number:
            raise ArtefactError(
                f"TensorRT refuses profile {number} of {self.graph}: {profile}; build the release again"
            )


def configure(trt: ModuleType, config: Any, options: Options) -> None:
    """Set the options, none of them a precision."""
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.refittable:
        config.set_flag(trt.BuilderFlag.REFIT)
    if options.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb * MEGABYTE)


def read_timings(config: Any, cache: Path) -> None:
    """Start from the timings of earlier builds; a file that TensorRT does not take is as good as none."""
    found = config.create_timing_cache(cache.read_bytes() if cache.is_file() else b"")
    if found is None or not config.set_timing_cache(found, False):
        empty = config.create_timing_cache(b"")
        if empty is not None:
            config.set_timing_cache(empty, False)


def write_timings(config: Any, cache: Path) -> None:
    """Keep the timings for later builds."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    unfinished = cache.with_suffix(".unfinished")
    unfinished.write_bytes(bytes(config.get_timing_cache().serialize()))
    unfinished.replace(cache)


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


def _wait(work: "Future[Any]", cancelled: threading.Event) -> Any:
    """Return the result of the work; Ctrl-C asks it to stop and goes on waiting."""
    while True:
        try:
            return work.result()
        except KeyboardInterrupt:
            if work.done():
                raise
            cancelled.set()
