"""Entry of the Triton container: look at the release and its engines first, then become tritonserver.

    python3 -m deploy.containers.serve --repository /releases/current [flags for tritonserver]

A plan of another TensorRT or GPU makes Triton fail model by model with messages about serialisation. Here each
engine.json is held against the TensorRT of this container, the GPUs of this host and the sha256 of its plan, and what
does not fit is named with its cure. `--config-name cpu` serves the ONNX graphs, without a GPU. With `--release-key` a
release is refused that the key's holder did not sign, to the last file.
"""

import argparse
import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deploy.repository import Serving, write
from deploy.security import signing
from shelfbridge.engine import PLAN, RECORD, EngineRecord, plan_refusal, read_record, refusal
from shelfbridge.errors import ArtefactError, PrerequisiteError, SettingsError

LIBRARIES = ("libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so")
GPUS = ("nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader")
MODEL_CACHE = "--cache-config=local,size={}"
"""For models whose configs enable the response cache: the encoder, where it runs on the CPU."""
SERVING = Serving("apart", query_cache=16)
NEEDS_ENGINE = re.compile(r'^\s*platform\s*:\s*"tensorrt_plan"', re.MULTILINE)


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


def command(
    models: Path, config_name: str | None, version_compatible: bool, query_cache: float, others: list[str]
) -> list[str]:
    """Return the server's command line."""
    line = ["tritonserver", f"--model-repository={models}", "--disable-auto-complete-config"]
    if config_name is not None:
        line.append(f"--model-config-name={config_name}")
        if query_cache:
            line.append(MODEL_CACHE.format(round(query_cache * (1 << 20))))
    if version_compatible:  # such plans bring a runtime of their own, which Triton runs only when told
        line.append("--backend-config=tensorrt,version-compatible=true")
    return [*line, *others]


def prepare(
    repository: Path,
    config_name: str | None,
    others: list[str],
    release_key: Path | None = None,
    *,
    models: Path,
    serving: Serving = SERVING,
) -> list[str]:
    """Check the release for this container and host, and write the repository that Triton loads.

    Args:
        repository: folder of the release.
        config_name: target whose configs are served; None is that of the engines.
        others: flags of tritonserver.
        release_key: public key; a release that was not signed with it is refused.
        models: folder to write to.
        serving: instances and caches.

    Returns:
        The command to become.

    Raises:
        ArtefactError: an engine must not be served here, or the release is not what the key's holder signed.
        SettingsError: the key cannot be used.
        PrerequisiteError: TensorRT or the GPU is missing.
    """
    if not any(repository.glob("*/config.pbtxt")):
        raise ArtefactError(f"{repository} holds no model; build a release, or give --repository")
    if release_key is not None:
        signing.verify(repository, release_key)
    version_compatible = False
    if config_name is None:
        records = read_records(repository)
        if found := refusals(records, tensorrt_version(), compute_capabilities()):
            raise ArtefactError("\n".join(found))
        version_compatible = any(record.version_compatible for record in records.values())
    write(repository, models, serving)
    return command(models, config_name, version_compatible, serving.query_cache, others)


def main(arguments: list[str] | None = None) -> None:
    """Check, then become tritonserver."""
    parser = argparse.ArgumentParser(
        prog="python3 -m deploy.containers.serve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--repository",
        type=Path,
        default=Path(os.environ.get("SHELFBRIDGE_REPOSITORY", "/releases/current")),
        help="folder of a release, or SHELFBRIDGE_REPOSITORY (default: %(default)s)",
    )
    parser.add_argument(
        "--config-name",
        default=os.environ.get("SHELFBRIDGE_CONFIG_NAME") or None,
        help="serve configs/NAME.pbtxt of each model, or SHELFBRIDGE_CONFIG_NAME (default: the engines)",
    )
    parser.add_argument(
        "--release-key",
        type=Path,
        default=os.environ.get("SHELFBRIDGE_RELEASE_KEY") or None,
        help="release.pub, or SHELFBRIDGE_RELEASE_KEY: a release that it did not sign is refused (default: none is)",
    )
    parser.add_argument(
        "--instances",
        type=int,
        default=os.environ.get("SHELFBRIDGE_INSTANCES") or None,
        help="instances of each model, or SHELFBRIDGE_INSTANCES (default: as the release's configs say)",
    )
    parser.add_argument(
        "--query-cache",
        type=float,
        default=os.environ.get("SHELFBRIDGE_QUERY_CACHE") or SERVING.query_cache,
        help="megabytes of encoded queries that are kept, or SHELFBRIDGE_QUERY_CACHE; on a GPU none are (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--models",
        type=Path,
        default=Path(os.environ.get("SHELFBRIDGE_MODELS", "/tmp/models")),
        help="folder for the configs that Triton loads, or SHELFBRIDGE_MODELS (default: %(default)s)",
    )
    options, others = parser.parse_known_args(arguments)
    serving = Serving("apart", instances=options.instances, query_cache=options.query_cache)
    try:
        line = prepare(
            options.repository.resolve(),
            options.config_name,
            others,
            options.release_key,
            models=options.models,
            serving=serving,
        )
    except (ArtefactError, PrerequisiteError, SettingsError) as error:
        raise SystemExit(f"error: {error}") from error
    print(" ".join(line), file=sys.stderr, flush=True)
    os.execvp(line[0], line)


if __name__ == "__main__":
    main()
