"""`config.pbtxt` of a model as its engine wants it: profiles by name, a warmup for each, CUDA graphs.

Triton runs an engine's first profile only, unless `instance_group.profile` names the others. Each profile has an
execution context in each instance; they share no memory, so each takes what its own profile needs and no more.

CUDA graphs are captured for exact shapes: a batch of one, at the served lengths that the shop's histogram makes likely.
A `graph_lower_bound` would let a graph serve shorter inputs too, but Triton leaves what lies behind them uninitialised,
and the attention mask is among it.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path

from tritonclient.grpc import model_config_pb2

from build.engines import buckets
from build.engines.buckets import Histogram, Profile
from shelfbridge import configs, contract

GRAPHS = 6
"""CUDA graphs of a model at most; each takes memory in every instance."""
GRAPH_CHANCE = 0.02
"""Share of the requests for which a graph is worth its memory."""
CONTEXT_MEMORY = "execution_context_allocation_strategy"
HEADER = """\
# Written for the engine of this release; a new build of the engines writes it anew.
# At start Triton tries each CUDA graph in every profile and logs an error where one does not admit its shape: these
# lines are harmless.
"""


def max_batch(config: Path) -> int:
    """The largest batch that a config permits."""
    return int(configs.read(config).max_batch_size)


def adapt(config: Path, profiles: tuple[Profile, ...], lengths: Mapping[str, Histogram]) -> None:
    """Edit a model's `config.pbtxt` to match an engine of these profiles."""
    parsed = configs.read(config)
    model = contract.MODELS[parsed.name]
    for group in parsed.instance_group:
        group.profile[:] = [str(number) for number in range(len(profiles))]
    parsed.parameters[CONTEXT_MEMORY].string_value = "ON_PROFILE_CHANGE"
    parsed.ClearField("response_cache")  # of an older release: it takes CPU memory only, and logs each miss as an error
    parsed.optimization.CopyFrom(_graphs(model, lengths))
    del parsed.model_warmup[:]
    parsed.model_warmup.extend(_warmup(number, profile, model) for number, profile in enumerate(profiles))
    configs.write(parsed, config, HEADER)


def _graphs(model: contract.Model, lengths: Mapping[str, Histogram]) -> model_config_pb2.ModelOptimizationPolicy:
    policy = model_config_pb2.ModelOptimizationPolicy()
    likely = itertools.islice(buckets.usual_lengths(model, lengths), GRAPHS)
    for _, chosen in itertools.takewhile(lambda one: one[0] >= GRAPH_CHANCE, likely):
        spec = policy.cuda.graph_spec.add(batch_size=1)
        for tensor in model.inputs:
            length = chosen[buckets.VARYING[tensor.name].name] if -1 in tensor.dims else 0
            spec.input[tensor.name].dim[:] = buckets.shape(tensor, 1, length)[1:]
    policy.cuda.graphs = bool(policy.cuda.graph_spec)  # without a spec Triton would capture shapes of its own choice
    return policy


def _warmup(number: int, profile: Profile, model: contract.Model) -> model_config_pb2.ModelWarmup:
    """Zeros of the shapes that a profile is tuned for."""
    given = {
        tensor.name: model_config_pb2.ModelWarmup.Input(
            data_type=model_config_pb2.DataType.Value(f"TYPE_{tensor.dtype}"),
            dims=profile[tensor.name].opt[1:],
            zero_data=True,
        )
        for tensor in model.inputs
    }
    batch = next(iter(profile.values())).opt[0]
    return model_config_pb2.ModelWarmup(name=f"profile {number}", batch_size=batch, inputs=given)
