"""One engine from gate to proof: the stage whose result goes into a release's version folder."""

import json
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console

from build.engines.buckets import Profile
from build.engines.builder import Network, Options
from build.engines.checks import check, check_vocabulary
from build.engines.operators import check_graph
from build.engines.runtime import EngineSession, Gpu
from build.workspace import Workspace, file_digest
from shelfbridge import contract
from shelfbridge.engine import PLAN, RECORD, EngineRecord, Precision
from shelfbridge.errors import ArtefactError

LAYERS = "engine_layers.json"
CHECKS = "engine_checks.json"


@dataclass(frozen=True)
class Bench:
    """Where engines are built and tried."""

    trt: ModuleType
    device: Gpu
    caches: Path
    """Folder of the timing caches."""
    runs: int
    """Timed runs per shape."""
    console: Console

    @property
    def timings(self) -> Path:
        """The timing cache of this GPU and TensorRT: another's would be refused or, worse, believed."""
        name = f"{self.device.name}-{self.device.compute_capability}-{self.trt.__version__}"
        return self.caches / f"{name.replace(' ', '-').replace('/', '-')}.timings"


@dataclass(frozen=True)
class Job:
    """What to build."""

    name: str
    """Of the model."""
    master: Path
    profiles: tuple[Profile, ...]
    options: Options
    vocabulary: int
    """Word pieces that the tokenizer knows."""

    @property
    def precision(self) -> Precision:
        """Of the engine, which is that of its master."""
        return "int8" if self.master.stem == "int8" else "fp16"


class EngineRefused(ArtefactError):
    """An engine was built and must not be published; `told` is what the report says of it."""

    def __init__(self, reasons: list[str], told: dict[str, Any]) -> None:
        super().__init__("\n".join(reasons))
        self.told = told


def told(folder: Path) -> dict[str, Any]:
    """What a report says of the engine in a folder."""
    return {
        "plan_mb": round((folder / PLAN).stat().st_size / 1e6, 1),
        **json.loads((folder / RECORD).read_text()),
        "checks": json.loads((folder / CHECKS).read_text()),
    }


def engine_stage(space: Workspace, job: Job, bench: Bench) -> Path:
    """The folder of an engine, built now or by an earlier run on the same GPU with the same TensorRT."""
    return space.stage(
        f"engine-{job.name}",
        partial(build_engine, job=job, bench=bench),
        job=replace(job, master=Path(job.master.name)),
        master=job.master,
        gpu=(bench.device.name, bench.device.compute_capability),
        tensorrt=bench.trt.__version__,
        runs=bench.runs,
    )


def build_engine(folder: Path, *, job: Job, bench: Bench) -> None:
    """Fill a folder with an engine: plan, record, layers and checks.

    Raises:
        ArtefactError: the graph is refused, or no engine comes of it.
        EngineRefused: the engine's answers are refused.
        KeyboardInterrupt: the build was cancelled.
    """
    check_graph(job.master)
    check_vocabulary(job.master, contract.MODELS[job.name], job.vocabulary)
    begun = time.monotonic()
    network = Network.parsed(bench.trt, job.master)
    plan = network.serialised(job.profiles, job.options, cache=bench.timings, console=bench.console)
    (folder / PLAN).write_bytes(plan)
    (folder / LAYERS).write_text(network.layers(plan, job.options))
    record = EngineRecord(
        model=job.name,
        precision=job.precision,
        tensorrt=bench.trt.__version__,
        gpu=bench.device.name,
        compute_capability=bench.device.compute_capability,
        plan_sha256=file_digest(folder / PLAN),
        master=job.master.name,
        master_sha256=file_digest(job.master),
        profiles=job.profiles,
        build_seconds=round(time.monotonic() - begun, 1),
        **asdict(job.options),
    )
    (folder / RECORD).write_text(record.model_dump_json(indent=2) + "\n")
    session = EngineSession(folder, trt=bench.trt, device=bench.device)
    seen, reasons = check(
        session, job.master, record, vocabulary=job.vocabulary, runs=bench.runs, console=bench.console
    )
    (folder / CHECKS).write_text(json.dumps(seen, indent=2) + "\n")
    if reasons:
        raise EngineRefused(reasons, told(folder))
