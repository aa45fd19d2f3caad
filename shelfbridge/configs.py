"""Triton's `config.pbtxt`: read, adapted and written in one place.

The committed configs of `model_repository/` are the one definition of how the models are wired. What differs between a
release and those (the encoder's width), and between a server and the release (instances, caches, steps in one
process), is written into copies by the functions here.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import model_config_pb2

from shelfbridge.contract import EMBEDDING, EMBEDDING_WIDTH
from shelfbridge.errors import ArtefactError

NAME = "config.pbtxt"
CPU = "configs/cpu.pbtxt"
"""Config of a network for servers without a GPU, as `--model-config-name=cpu` has Triton read it."""
_CPU_KIND = model_config_pb2.ModelInstanceGroup.KIND_CPU


def read(file: Path) -> Any:
    """Return a config as a protobuf message.

    Raises:
        ArtefactError: the file is missing, or no config.
    """
    try:
        return text_format.Parse(file.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise ArtefactError(f"{file} is no model config ({error}); build the release again") from error


def write(config: Any, file: Path, header: str = "") -> None:
    """Write a config, after some lines of comment.

    A file that is there is replaced, not changed: it may be a link that others share.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    file.write_text(header + text_format.MessageToString(config), encoding="utf-8")


def as_dict(config: Any) -> dict[str, Any]:
    """Return a config as Triton hands it to a backend."""
    found: dict[str, Any] = MessageToDict(config, preserving_proto_field_name=True)
    return found


def every(repository: Path) -> Iterator[Path]:
    """Iterate over all configs of a model repository, of every target."""
    yield from sorted(repository.glob(f"*/{NAME}"))
    yield from sorted(repository.glob("*/configs/*.pbtxt"))


def set_width(repository: Path, width: int) -> None:
    """Write the encoder's width into the configs where it is not that of the default encoder."""
    if width == EMBEDDING_WIDTH:
        return
    for file in every(repository):
        config = read(file)
        tensors = [tensor for tensor in (*config.input, *config.output) if tensor.name == EMBEDDING.name]
        for tensor in tensors:
            tensor.dims[:] = [width]
        if tensors:
            write(config, file)


def set_instances(config: Any, count: int) -> None:
    """Have so many instances of a model in each of its groups."""
    for group in config.instance_group:
        group.count = count


def set_response_cache(config: Any, enabled: bool) -> None:
    """Turn a model's response cache off; one whose config has none stays without, as not all may be cached."""
    if config.HasField("response_cache"):
        config.response_cache.enable = config.response_cache.enable and enabled


def is_ensemble(config: Any) -> bool:
    """Return whether a model is an ensemble."""
    return bool(config.platform == "ensemble")


def run_in_one_process(ensembles: Mapping[str, Any], name: str, count: int, parameters: Mapping[str, str]) -> Any:
    """Return the config of one model that answers for several ensembles, and turn each of those into a call of it.

    The model has the inputs and outputs of every ensemble under names of their own, `<ensemble>.<tensor>`. Which
    outputs are asked for tells it which ensemble is.

    Args:
        ensembles: by name; these messages are changed.
        name: of the new model.
        count: of processes that answer.
        parameters: of the new model.
    """
    model = model_config_pb2.ModelConfig(name=name, backend="python", max_batch_size=1)
    model.version_policy.latest.num_versions = 1
    for ensemble, config in ensembles.items():
        step = model_config_pb2.ModelEnsembling.Step(model_name=name, model_version=-1)
        for tensor in config.input:
            own = model.input.add()
            own.CopyFrom(tensor)
            own.name, own.optional = f"{ensemble}.{tensor.name}", True
            step.input_map[own.name] = tensor.name
        for tensor in config.output:
            own = model.output.add()
            own.CopyFrom(tensor)
            own.name = f"{ensemble}.{tensor.name}"
            step.output_map[own.name] = tensor.name
        del config.ensemble_scheduling.step[:]
        config.ensemble_scheduling.step.append(step)
    model.instance_group.add(kind=_CPU_KIND, count=count)
    for key, value in parameters.items():
        model.parameters[key].string_value = value
    return model
