"""The model repository that a server loads: a release's models, with instances and caches as the server's settings say.

Nothing of the release is changed: its version folders are linked to, and the configs beside them are adapted copies. An
embedded server and a container call the same function, so a setting means the same in both.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shelfbridge import configs
from shelfbridge.errors import PrerequisiteError
from shelfbridge.release import read_manifest

Steps = Literal["together", "apart"]
PIPELINES = "pipelines"
"""Name of the model that answers for all ensembles where their steps are together."""
_MODEL = '''"""All ensembles of the release, in one process."""

from shelfbridge.triton import ServedPipelines as TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


@dataclass(frozen=True)
class Serving:
    """How a release is served."""

    steps: Steps
    """Whether each process answers whole requests, or every step is a model of its own."""
    processes: int = 1
    """Processes that answer for all ensembles, where the steps are together."""
    instances: int | None = None
    """Instances of each model, where the steps are apart; None leaves what the configs say."""
    result_cache: float = 0
    """Megabytes of answers that each process keeps, where the steps are together."""
    query_cache: float = 0
    """Megabytes of encoded queries that are kept."""


def write(release: Path, folder: Path, serving: Serving) -> Path:
    """Write a model repository for Triton, in place of what was in its folder.

    Returns:
        The folder.

    Raises:
        ArtefactError: the release or a config of it cannot be read.
        PrerequisiteError: the release holds no ensemble whose steps could be together.
    """
    release = release.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    found = {file.parent.name: configs.read(file) for file in sorted(release.glob(f"*/{configs.NAME}"))}
    ensembles = {name: config for name, config in found.items() if configs.is_ensemble(config)}
    if serving.steps == "together":
        if not ensembles:
            raise PrerequisiteError(f"{release} holds no ensemble to run in one process; serve it with --steps apart")
        for step in {step.model_name for config in ensembles.values() for step in config.ensemble_scheduling.step}:
            found.pop(step, None)
        version = str(read_manifest(release)["release"])
        parameters = {
            "release": str(release),
            "result_cache_megabytes": str(serving.result_cache),
            "query_cache_megabytes": str(serving.query_cache),
        }
        model = configs.run_in_one_process(ensembles, PIPELINES, serving.processes, parameters)
        configs.write(model, folder / PIPELINES / configs.NAME)
        (folder / PIPELINES / version).mkdir()
        (folder / PIPELINES / version / "model.py").write_text(_MODEL, encoding="utf-8")
    for name, config in found.items():
        home = folder / name
        home.mkdir(parents=True)
        for version_folder in (release / name).iterdir():
            if version_folder.name.isdigit():
                (home / version_folder.name).symlink_to(version_folder)
        _write(config, home / configs.NAME, serving)
        for file in (release / name).glob("configs/*.pbtxt"):
            _write(configs.read(file), home / "configs" / file.name, serving)
    return folder


def tritonserver(program: str, models: Path, config_name: str | None, query_cache: float) -> list[str]:
    """Return the command that serves such a repository.

    Args:
        program: of Triton.
        models: the repository.
        config_name: target whose configs are served; None is that of the engines.
        query_cache: megabytes of Triton's own cache, for models whose configs enable it.
    """
    line = [program, f"--model-repository={models}", "--disable-auto-complete-config"]
    if config_name is not None:
        line.append(f"--model-config-name={config_name}")
    if query_cache:
        line.append(f"--cache-config=local,size={round(query_cache * (1 << 20))}")
    return line


def _write(config: object, file: Path, serving: Serving) -> None:
    if serving.instances is not None and serving.steps == "apart":
        configs.set_instances(config, serving.instances)
    configs.set_response_cache(config, serving.query_cache > 0)
    configs.write(config, file)
