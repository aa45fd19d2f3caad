"""The record of a TensorRT engine, and whether this server may load its plan.

A plan is tied to the TensorRT that built it and to the GPU's architecture. A server that loads another one fails late
and unclearly, so the build writes `engine.json` beside each `model.plan` and whoever serves it reads that first.
"""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from shelfbridge.errors import ArtefactError
from shelfbridge.request import explain

PLAN = "model.plan"
RECORD = "engine.json"
CURE = "build the engines again in the container that serves them (make engines)"

Precision = Literal["fp16", "int8"]
Shape = tuple[int, ...]


class Range(BaseModel):
    """The shapes of an input that an optimization profile admits; it is tuned for `opt`. Batch first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: Shape
    opt: Shape
    max: Shape

    def admits(self, shape: Shape) -> bool:
        """Whether a shape lies within."""
        return len(shape) == len(self.min) and all(
            low <= size <= high for low, size, high in zip(self.min, shape, self.max, strict=True)
        )


class EngineRecord(BaseModel):
    """What `engine.json` tells of the plan beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    precision: Precision
    tensorrt: str
    """Version that built the plan, e.g. "10.15.1.29"."""
    gpu: str
    compute_capability: str
    """Of that GPU, e.g. "9.0"."""
    plan_sha256: str
    master: str
    """File name of the ONNX graph that the plan was built from."""
    master_sha256: str
    profiles: tuple[dict[str, Range], ...]
    """Per optimization profile, the shapes of each input."""
    version_compatible: bool
    """Whether newer minor versions of the same major may load the plan."""
    refittable: bool
    workspace_mb: int | None
    """Limit of the builder's workspace; None is the GPU's memory."""
    build_seconds: float


def read_record(file: Path) -> EngineRecord:
    """The record in `engine.json`.

    Raises:
        ArtefactError: the file is missing or no record.
    """
    try:
        return EngineRecord.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ArtefactError(f"{file} cannot be read ({error.strerror}); {CURE}") from error
    except ValidationError as error:
        raise ArtefactError(f"{file} is no record of an engine ({explain(error)}); {CURE}") from error


def refusal(record: EngineRecord, tensorrt_version: str, compute_capability: str) -> str | None:
    """Why the plan must not be loaded here, with the cure; None where it may.

    The versions count by major, minor and patch. A version-compatible plan may be loaded by a newer minor version or
    patch of the same major version.
    """
    built, here = _version(record.tensorrt), _version(tensorrt_version)
    newer = built[0] == here[0] and built <= here
    if built != here and not (record.version_compatible and newer):
        return f"{record.model}: its plan was built by TensorRT {_text(built)}, but this is {_text(here)}; {CURE}"
    if record.compute_capability != compute_capability:
        return (
            f"{record.model}: its plan was built for compute capability {record.compute_capability} ({record.gpu}), "
            f"but this GPU has {compute_capability}; {CURE}"
        )
    return None


def plan_refusal(record: EngineRecord, plan: Path) -> str | None:
    """Why the plan file is not the recorded one, with the cure; None where it is."""
    try:
        with plan.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"{record.model}: {plan} cannot be read ({error.strerror}); {CURE}"
    if digest != record.plan_sha256:
        return f"{record.model}: {plan} was changed since it was built; {CURE}"
    return None


def _version(text: str) -> tuple[int, int, int]:
    parts = text.split(".")
    try:
        major, minor, patch = (int(part) for part in (*parts, "0", "0")[:3])
    except ValueError:
        raise ArtefactError(f"{text!r} is no TensorRT version; {CURE}") from None
    return major, minor, patch


def _text(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))
