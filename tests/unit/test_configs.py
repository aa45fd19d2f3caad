"""Every config of the model repository says what the contract says, in every target."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from shelfbridge.contract import MAX_QUERY_TOKENS, MODELS, PAIR_TOKENS, SHELF_EVENTS, STEPS, STORED_TOKENS, Tensor
from shelfbridge.door import guarded

REPOSITORY = Path(__file__).parents[2] / "model_repository"
CONFIGS = sorted(REPOSITORY.glob("*/config.pbtxt")) + sorted(REPOSITORY.glob("*/configs/*.pbtxt"))


def parse(path: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


def tensors(entries: object) -> list[Tensor]:
    names = {value: name.removeprefix("TYPE_") for name, value in model_config_pb2.DataType.items()}
    return [
        Tensor(entry.name, names[entry.data_type], tuple(entry.dims), getattr(entry, "optional", False))
        for entry in entries
    ]


def named(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def test_every_model_has_a_config() -> None:
    assert {path.parent.name for path in CONFIGS if path.name == "config.pbtxt"} == set(MODELS)


@pytest.mark.parametrize("path", CONFIGS, ids=named)
def test_tensors_are_those_of_the_contract(path: Path) -> None:
    config = parse(path)
    model = MODELS[path.relative_to(REPOSITORY).parts[0]]
    assert config.name == model.name
    assert tensors(config.input) == list(model.inputs)
    assert tensors(config.output) == list(model.outputs)


@pytest.mark.parametrize("path", CONFIGS, ids=named)
def test_one_query_a_request_and_many_a_step(path: Path) -> None:
    config = parse(path)
    if config.platform == "ensemble":
        assert config.max_batch_size == 1
        assert not config.instance_group
    elif not MODELS[config.name].batched:
        assert config.max_batch_size == 0
        assert not config.HasField("dynamic_batching")
    else:
        assert config.HasField("dynamic_batching")
        # A malformed string fails the whole batch it is in
        takes_strings = any(entry.data_type == model_config_pb2.TYPE_STRING for entry in config.input)
        assert config.max_batch_size == (1 if takes_strings else 64)


@pytest.mark.parametrize("path", CONFIGS, ids=named)
def test_queues_have_no_policy(path: Path) -> None:
    """A policy keeps requests waiting beside free instances, and with a delay loses instances (server issue 8870)."""
    batching = parse(path).dynamic_batching
    assert batching.max_queue_delay_microseconds == 0
    assert not batching.HasField("default_queue_policy")
    assert not batching.priority_levels


def test_a_first_step_guards_what_comes_after_it_but_for_the_last() -> None:
    assert guarded("preprocess", STEPS) == ("preprocess", "encoder", "retrieve", "ranker")
    assert guarded("shortlist", STEPS) == ("shortlist", "cross_encoder")
    assert guarded("profile", STEPS) == ("profile", "user_encoder", "shelf_ranker")


@pytest.mark.parametrize("name", ["postprocess", "personal", "shelf", "events", "privacy"])
def test_last_steps_and_those_of_no_ensemble_turn_nothing_away(name: str) -> None:
    assert guarded(name, STEPS) == ()


LONGEST = {
    "input": MAX_QUERY_TOKENS,
    "attention": MAX_QUERY_TOKENS,
    "token": MAX_QUERY_TOKENS,
    "candidate": STORED_TOKENS,
    "pair": PAIR_TOKENS,
    "event": SHELF_EVENTS,
}
"""Most word pieces, or events, by the first word of a tensor's name."""


@pytest.mark.parametrize("path", CONFIGS, ids=named)
def test_warmup_sends_the_models_inputs(path: Path) -> None:
    config = parse(path)
    wanted = {entry.name: (entry.data_type, list(entry.dims)) for entry in config.input}
    for warmup in config.model_warmup:
        assert set(warmup.inputs) == set(wanted)
        for name, given in warmup.inputs.items():
            dtype, dims = wanted[name]
            assert given.data_type == dtype
            assert len(given.dims) == len(dims)
            assert all(want in (-1, have) for want, have in zip(dims, given.dims, strict=True))
            lengths = [have for want, have in zip(dims, given.dims, strict=True) if want == -1]
            assert all(length <= LONGEST[name.split("_")[0]] for length in lengths)


def test_targets_differ_in_where_and_how_they_run_only() -> None:
    for path in REPOSITORY.glob("*/configs/*.pbtxt"):
        ours, plain = parse(path), parse(path.parents[1] / "config.pbtxt")
        for config in (ours, plain):
            for field in ("platform", "backend", "instance_group", "parameters", "response_cache"):
                config.ClearField(field)
        assert ours == plain


@pytest.mark.parametrize("path", CONFIGS, ids=named)
def test_no_model_on_a_gpu_has_a_response_cache(path: Path) -> None:
    """Triton's cache takes CPU memory only: of outputs on the GPU, between two steps, each miss is an error logged."""
    config = parse(path)
    on_gpu = any(group.kind == model_config_pb2.ModelInstanceGroup.KIND_GPU for group in config.instance_group)
    assert not (on_gpu and config.response_cache.enable)


def test_the_encoder_on_a_cpu_has_one() -> None:
    assert parse(REPOSITORY / "encoder/configs/cpu.pbtxt").response_cache.enable


@pytest.mark.parametrize("name", STEPS)
def test_ensemble_wires_its_steps(name: str) -> None:
    config = parse(REPOSITORY / name / "config.pbtxt")
    made = {tensor.name: (tensor.dtype, tensor.dims) for tensor in MODELS[name].inputs}
    assert tuple(step.model_name for step in config.ensemble_scheduling.step) == STEPS[name]
    for step in config.ensemble_scheduling.step:
        model = MODELS[step.model_name]
        inputs = {tensor.name: (tensor.dtype, tensor.dims) for tensor in model.inputs}
        outputs = {tensor.name: (tensor.dtype, tensor.dims) for tensor in model.outputs}
        needed = {tensor.name for tensor in model.inputs if not tensor.optional}
        assert needed <= set(step.input_map) <= set(inputs)
        assert set(step.output_map) <= set(outputs)
        for inner, outer in step.input_map.items():
            assert made[outer] == inputs[inner], f"{step.model_name} reads {outer} as {inner}"
        for inner, outer in step.output_map.items():
            assert outer not in made, f"{outer} is written twice: Triton would run its readers again and again"
            made[outer] = outputs[inner]
    assert {tensor.name for tensor in MODELS[name].outputs} <= set(made)
