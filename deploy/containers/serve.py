"""Entry of the Triton container: look at the release and its engines first, then become tritonserver.

    python3 -m deploy.containers.serve --repository /releases/current [flags for tritonserver]

A plan of another TensorRT or GPU makes Triton fail model by model with messages about serialisation. Here each
engine.json is held against the TensorRT of this container, the GPUs of this host and the sha256 of its plan, and what
does not fit is named with its cure. `--config-name cpu` serves the ONNX graphs, without a GPU. With `--release-key` a
release is refused that the key's holder did not sign, to the last file.
"""

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.repository import Serving, tritonserver, write
from deploy.security import signing
from shelfbridge.engine import PLAN, RECORD, EngineRecord, plan_refusal, read_record, refusal
from shelfbridge.errors import ArtefactError, PrerequisiteError
from shelfbridge.program import add_settings, command_line, ended, settings_of

LIBRARIES = ("libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so")
GPUS = ("nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader")
NEEDS_ENGINE = re.compile(r'^\s*platform\s*:\s*"tensorrt_plan"', re.MULTILINE)


class ContainerSettings(BaseSettings):
    """Each field is a flag and an environment variable SHELFBRIDGE_<NAME>, as of the embedded server."""

    model_config = SettingsConfigDict(env_prefix="SHELFBRIDGE_", env_ignore_empty=True, frozen=True)

    repository: Path = Field(Path("/releases/current"), description="folder of a release")
    config_name: str | None = Field(None, description="serve configs/NAME.pbtxt of each model; none is the engines")
    release_key: Path | None = Field(
        None, description="release.pub: a release that was not signed with it, or was altered, is refused"
    )
    instances: int | None = Field(None, ge=1, description="instances of each model; as the release's configs say")
    query_cache: float = Field(
        16, ge=0, allow_inf_nan=False, description="megabytes of encoded queries that are kept; on a GPU none are"
    )
    models: Path = Field(Path("/tmp/models"), description="folder for the configs that Triton loads")


def decode_version(number: int) -> str:
    """What `getInferLibVersion` returns as a version: (major * 100 + minor) * 100 + patch, from TensorRT 10 on.

    Raises:
        PrerequisiteError: the number is of an older TensorRT.
    """
    if number < 100_000:
        raise PrerequisiteError(
            f"libnvinfer gives its version as {number}, older than TensorRT 10; use the pinned image"
        )
    return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"


def tensorrt_version(load: Callable[[str], Any] = ctypes.CDLL) -> str:
    """Version of the TensorRT that the server will load.

    Raises:
        PrerequisiteError: there is none.
    """
    for name in LIBRARIES:
        try:
            library = load(name)
        except OSError:
            continue
        return decode_version(int(library.getInferLibVersion()))
    raise PrerequisiteError(
        "libnvinfer was not found, so no engine can be loaded here; use the pinned Triton image, or --config-name cpu"
    )


def compute_capabilities(run: Callable[..., Any] = subprocess.run) -> dict[str, str]:
    """Compute capability by name of each GPU that this container sees.

    Raises:
        PrerequisiteError: it sees none.
    """
    cure = "start the container with its GPU (docker compose does; docker run --gpus all), or use --config-name cpu"
    try:
        said = run(GPUS, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise PrerequisiteError(f"no GPU can be asked for ({error}); {cure}") from error
    found = dict(line.rsplit(", ", 1) for line in said.splitlines() if ", " in line)
    if not found:
        raise PrerequisiteError(f"this container sees no GPU; {cure}")
    return found


def read_records(repository: Path) -> dict[Path, EngineRecord]:
    """The records of a repository's engines, by version folder.

    Raises:
        ArtefactError: a model wants an engine and has none, or a record cannot be read.
    """
    records = {file.parent: read_record(file) for file in sorted(repository.glob(f"*/*/{RECORD}"))}
    have = {folder.parent.name for folder in records}
    want = {file.parent.name for file in repository.glob("*/config.pbtxt") if NEEDS_ENGINE.search(file.read_text())}
    if want - have:
        raise ArtefactError(
            f"{repository} has no engine for {', '.join(sorted(want - have))}; run make engines, or serve the ONNX "
            "graphs (--config-name cpu)"
        )
    return records


def refusals(records: Mapping[Path, EngineRecord], version: str, gpus: Mapping[str, str]) -> list[str]:
    """Why the engines must not be served here, one line each; empty where they may."""
    found = []
    for folder, record in records.items():
        reasons = [refusal(record, version, capability) for capability in sorted(set(gpus.values()))]
        reasons.append(plan_refusal(record, folder / PLAN))
        found += [reason for reason in reasons if reason is not None]
    return found


def prepare(settings: ContainerSettings, others: Sequence[str] = ()) -> list[str]:
    """Check the release for this container and host, and write the repository that Triton loads.

    Args:
        settings: what is served, and how.
        others: further flags of tritonserver.

    Returns:
        The command to become.

    Raises:
        ArtefactError: an engine must not be served here, or the release is not what the key's holder signed.
        SettingsError: the key cannot be used.
        PrerequisiteError: TensorRT or the GPU is missing.
    """
    release, on_cpu = settings.repository.resolve(), settings.config_name is not None
    if not any(release.glob("*/config.pbtxt")):
        raise ArtefactError(f"{release} holds no model; build a release, or give --repository")
    if settings.release_key is not None:
        signing.verify(release, settings.release_key)
    records = {} if on_cpu else read_records(release)
    if not on_cpu and (found := refusals(records, tensorrt_version(), compute_capabilities())):
        raise ArtefactError("\n".join(found))
    write(release, settings.models, Serving("apart", instances=settings.instances, query_cache=settings.query_cache))
    # The cache is for models whose configs enable it: the encoder, where it runs on the CPU
    line = tritonserver("tritonserver", settings.models, settings.config_name, settings.query_cache if on_cpu else 0)
    if any(record.version_compatible for record in records.values()):
        line.append("--backend-config=tensorrt,version-compatible=true")  # Triton runs their own runtime only when told
    return [*line, *others]


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, then become tritonserver."""
    parser = command_line("deploy.containers.serve", __doc__ or "")
    parser.allow_abbrev = False
    add_settings(parser, ContainerSettings)
    flags, others = parser.parse_known_args(arguments)

    def work() -> int:
        line = prepare(settings_of(ContainerSettings, flags), others)
        print(" ".join(line), file=sys.stderr, flush=True)
        os.execvp(line[0], line)

    return ended(work)


if __name__ == "__main__":
    sys.exit(main())
