"""Which folder of models the server loads: the release itself, or its ensembles with their steps together.

Models that are no step of any ensemble, those of events and privacy, are loaded as they are in either.
"""

import shutil
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from deploy.embedded.settings import EmbeddedSettings
from shelfbridge.contract import CACHED
from shelfbridge.errors import PrerequisiteError


def folder(settings: EmbeddedSettings) -> Path:
    """The model repository for Triton.

    Raises:
        PrerequisiteError: the release holds no ensemble, or a config of it cannot be read.
    """
    release = settings.repository.resolve()
    return release if settings.steps == "apart" else together(release, settings.run_dir.resolve() / "models", settings)


def together(release: Path, models: Path, settings: EmbeddedSettings) -> Path:
    """Write a repository of the release's ensembles, each one model, and of its models that are no step of them; their
    version folders are links into the release.
    """
    shutil.rmtree(models, ignore_errors=True)
    configs = {file.parent.name: _read(file) for file in sorted(release.glob("*/config.pbtxt"))}
    ensembles = {name: config for name, config in configs.items() if config.platform == "ensemble"}
    if not ensembles:
        raise PrerequisiteError(f"{release} holds no ensemble to run in one process; serve it with --steps apart")
    steps = {step.model_name for config in ensembles.values() for step in config.ensemble_scheduling.step}
    for name in configs.keys() - steps:
        home = models / name
        home.mkdir(parents=True)
        for version in (entry for entry in (release / name).iterdir() if entry.name.isdigit()):
            (home / version.name).symlink_to(version)
        if name in ensembles:
            _run_together(configs[name], settings)
        (home / "config.pbtxt").write_text(text_format.MessageToString(configs[name]), encoding="utf-8")
    return models


def _run_together(config: Any, settings: EmbeddedSettings) -> None:
    """Turn an ensemble's config into that of one model with the same inputs and outputs."""
    config.ClearField("platform")
    config.ClearField("ensemble_scheduling")
    config.backend = "together"
    config.instance_group.add(kind=model_config_pb2.ModelInstanceGroup.KIND_CPU, count=settings.processes)
    cached = settings.result_cache if config.name in CACHED else 0
    config.parameters["result_cache_megabytes"].string_value = str(cached)
    config.parameters["query_cache_megabytes"].string_value = str(settings.query_cache)


def _read(file: Path) -> Any:
    try:
        return text_format.Parse(file.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    except (OSError, text_format.ParseError) as error:
        raise PrerequisiteError(f"{file} is no model config ({error}); build the release again") from error
