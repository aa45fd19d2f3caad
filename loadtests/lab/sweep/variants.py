"""Settings of a served release that can be varied, and a copy of a release that has them."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from build.release.publish import hard_link
from shelfbridge import configs
from shelfbridge.release import read_manifest

Way = Literal["together", "apart"]
"""All steps of a search in one process, or each in its own."""
PYTHON_STEPS = ("preprocess", "retrieve", "postprocess")
NETWORKS = ("encoder", "ranker")


@dataclass(frozen=True)
class Variant:
    """One way of serving a release. None leaves what the release's configs and the server have."""

    steps: Way = "together"
    processes: int | None = None
    """Searches at a time, steps together."""
    python_instances: int | None = None
    """Of each Python step, steps apart."""
    network_instances: int | None = None
    """Of encoder and ranker, steps apart."""
    threads: int | None = None
    """Of one run of a network (onnxruntime's intra-op threads)."""
    arena: bool | None = None
    """Whether onnxruntime keeps freed memory for the next run."""
    delay_us: int | None = None
    """Longest wait for requests to join, of encoder and ranker, whose queues have no bound then; steps apart."""
    grpc_pool: int | None = None
    """Requests that gRPC keeps the memory of; this release of the server has no flag for gRPC's threads."""
    copy_threads: int | None = None
    """Threads that copy tensors between requests and models."""
    query_cache: float | None = None
    """Megabytes of encoded queries that are kept."""
    result_cache: float | None = None
    """Megabytes of whole answers that each process keeps, steps together."""

    @property
    def name(self) -> str:
        """The settings that are given."""
        given = {key: value for key, value in asdict(self).items() if value is not None and key != "steps"}
        return ", ".join([self.steps, *(f"{key}={value}" for key, value in given.items())])

    def configure(self, model: str, config: Any) -> None:
        """Change a model's parsed config, in place."""
        count = {
            **dict.fromkeys(PYTHON_STEPS, self.python_instances),
            **dict.fromkeys(NETWORKS, self.network_instances),
        }
        if count.get(model) is not None:
            for group in config.instance_group:
                group.count = count[model]
        if model not in NETWORKS:
            return
        if self.threads is not None:
            config.parameters["intra_op_thread_count"].string_value = str(self.threads)
        if self.arena is not None:
            config.parameters["enable_mem_arena"].string_value = str(int(self.arena))
        if self.delay_us is not None:
            # A bounded queue and a delay together lose instances (triton-inference-server/server issue 8870)
            config.dynamic_batching.Clear()
            config.dynamic_batching.max_queue_delay_microseconds = self.delay_us

    def settings(self) -> dict[str, Any]:
        """Fields of `EmbeddedSettings`."""
        given: dict[str, Any] = {
            name: getattr(self, name) for name in ("steps", "processes", "result_cache", "query_cache")
        }
        flags = {"grpc-infer-allocation-pool-size": self.grpc_pool, "buffer-manager-thread-count": self.copy_threads}
        given["extra"] = [f"--{name}={value}" for name, value in flags.items() if value is not None] or None
        return {name: value for name, value in given.items() if value is not None}


AXES: Mapping[Way, Mapping[str, Sequence[Any]]] = {
    "together": {
        "processes": (1, 2, 3, 4),
        "threads": (1, 2),
        "arena": (False,),
        "grpc_pool": (64,),
        "copy_threads": (2,),
        "query_cache": (0.0,),
        "result_cache": (0.0,),
    },
    "apart": {
        "python_instances": (1, 2, 4),
        "network_instances": (1, 2),
        "threads": (1, 2),
        "arena": (False,),
        "delay_us": (0, 500, 2000),
        "grpc_pool": (64,),
        "copy_threads": (2,),
        "query_cache": (0.0,),
    },
}
"""What is varied, by how the steps are run."""
CACHES = ("query_cache", "result_cache")
"""What makes no difference where no query repeats."""


def grid(ways: Sequence[Way], warm: bool) -> list[Variant]:
    """Each way of running the steps as it is, and with one setting changed; caches only where queries repeat."""
    variants: list[Variant] = []
    for way in ways:
        base = Variant(steps=way)
        axes = {axis: values for axis, values in AXES[way].items() if warm or axis not in CACHES}
        variants += [base, *(replace(base, **{axis: value}) for axis, values in axes.items() for value in values)]
    return variants


def variant_of(release: Path, variant: Variant, folder: Path) -> Path:
    """A copy of a release with a variant's configs; everything else in it is linked to the release's own files.

    Raises:
        ArtefactError: it is no release.
    """
    read_manifest(release)
    shutil.copytree(release.resolve(), folder, copy_function=hard_link)
    for home in sorted(path for path in folder.iterdir() if (path / "config.pbtxt").is_file()):
        served = home / "configs" / "cpu.pbtxt"
        file = served if served.is_file() else home / "config.pbtxt"
        config = configs.read(file)
        variant.configure(home.name, config)
        configs.write(config, file)
    return folder
