"""Optimization profiles from the shop's own word-piece lengths.

TensorRT times its kernels at a profile's `opt` shape and runs them for every shape between `min` and `max`; nothing is
padded to a bucket. What is lost is lost to distance: a length far from `opt` runs on kernels chosen for another. So
lengths are put into the fewest buckets whose mean distance from a length to its bucket's `opt` is within `DISTANCE` of
the mean length or a quarter of `STEP` (one-dimensional k-medians with edges at multiples of `STEP`: few enough that all
are tried).

Lengths are counted as they are served (`shelfbridge.lengths`), so a profile is tuned, and a CUDA graph captured, for a
shape that comes. The `min` of a profile is no served shape: it follows the `max` of the one before, so that whatever a
caller of a single model sends finds its profile.

A batch of one has buckets of its own beside larger batches: latency and throughput want other kernels. The profiles
of a model do not overlap and leave no gap, so one and only one admits a shape; with more, Triton's distance rule would
choose, and two programs could choose differently.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, PositiveInt, ValidationError

from shelfbridge import contract
from shelfbridge.engine import Range
from shelfbridge.errors import ArtefactError
from shelfbridge.release import read_manifest
from shelfbridge.request import explain

Histogram = Mapping[int, int]
"""Counts by length."""
Counts = Annotated[dict[PositiveInt, PositiveInt], Field(min_length=1)]
Profile = dict[str, Range]
"""An optimization profile: the shapes of each input."""

STEP = 8
"""Edges lie at its multiples: what tensor cores work on at once."""
DISTANCE = 0.1
MOST = 3
"""Buckets at most: each is an execution context, with memory of its own, in every instance."""
BATCH = 8
"""What the profiles for several queries are tuned for; their largest batch is seldom seen."""


@dataclass(frozen=True)
class Length:
    """A kind of length that varies, from 1 to `most`."""

    name: str
    most: int


QUERY = Length("query", contract.MAX_QUERY_TOKENS)
CANDIDATES = Length("candidates", contract.STORED_TOKENS)
PAIR = Length("pair", contract.PAIR_TOKENS)
EVENT = Length("event", contract.SHELF_EVENTS)
VARYING = {
    contract.INPUT_IDS.name: QUERY,
    contract.ATTENTION_MASK.name: QUERY,
    contract.TOKEN_VECTORS.name: QUERY,
    contract.CANDIDATE_TOKENS.name: CANDIDATES,
    contract.PAIR_IDS.name: PAIR,
    contract.PAIR_TYPES.name: PAIR,
    contract.PAIR_MASK.name: PAIR,
    contract.EVENT_VECTORS.name: EVENT,
    contract.EVENT_AGES.name: EVENT,
    contract.EVENT_KINDS.name: EVENT,
    contract.EVENT_MASK.name: EVENT,
}
"""The kind of the length that a tensor's dim of -1 stands for."""


@dataclass(frozen=True)
class Bucket:
    """Lengths from `least` to `most`, tuned for `usual`."""

    least: int
    usual: int
    most: int


class Counted(BaseModel):
    """`lengths.json`: how often a served tensor has which length, by kind."""

    query: Counts
    candidates: Counts
    pair: Counts


def read_lengths(release: Path) -> dict[str, dict[int, int]]:
    """The histograms of a release by kind; where it has a shelf, that of a shopper's events too.

    Raises:
        ArtefactError: `lengths.json` is missing, or lacks a kind.
    """
    file = release / "lengths.json"
    try:
        lengths: dict[str, dict[int, int]] = Counted.model_validate_json(file.read_bytes()).model_dump()
    except (OSError, ValidationError) as error:
        reason = explain(error) if isinstance(error, ValidationError) else error.strerror
        raise ArtefactError(f"{file} holds no histograms of lengths ({reason}); build the release again") from error
    shelf = read_manifest(release).get("shelf")
    if shelf is not None:
        lengths[EVENT.name] = {min(max(1, int(length)), EVENT.most): n for length, n in shelf["events"].items()}
    return lengths


def chances(histogram: Histogram, kind: Length) -> dict[int, float]:
    """Return how probable each length from 1 to the kind's most is; a longer one counts as that."""
    found = dict.fromkeys(range(1, kind.most + 1), 0.0)
    total = sum(histogram.values())
    for length, count in histogram.items():
        found[min(length, kind.most)] += count / total
    return found


def buckets(weights: Mapping[int, float], most: int = MOST) -> list[Bucket]:
    """The fewest buckets by the rule above, at most `most`; together they hold every length from 1 to the longest key.

    Args:
        weights: probability by length, for every length from 1 on.
    """
    end = max(weights)
    edges = range(STEP, end, STEP)
    bound = max(DISTANCE * sum(length * weight for length, weight in weights.items()), STEP / 4)

    def cost(made: list[Bucket]) -> float:
        return sum(distance(weights, bucket) for bucket in made)

    best: list[Bucket] = []
    for cuts in range(min(most, len(edges) + 1)):
        ends = ((0, *chosen, end) for chosen in itertools.combinations(edges, cuts))
        tried = ([fit(weights, low + 1, high) for low, high in itertools.pairwise(one)] for one in ends)
        best = min([*([best] if best else []), *tried], key=cost)
        if cost(best) <= bound:
            break
    return best


def fit(weights: Mapping[int, float], least: int, most: int) -> Bucket:
    """A bucket of these lengths, tuned for their weighted median."""
    inside = [weights[length] for length in range(least, most + 1)]
    half = sum(inside) / 2
    below = enumerate(itertools.accumulate(inside), least)
    return Bucket(least, next((length for length, sum_so_far in below if half and sum_so_far >= half), most), most)


def distance(weights: Mapping[int, float], bucket: Bucket) -> float:
    """Weighted sum of the distances between lengths and what the bucket is tuned for."""
    return sum(weights[length] * abs(length - bucket.usual) for length in range(bucket.least, bucket.most + 1))


def profiles(model: contract.Model, lengths: Mapping[str, Histogram], max_batch: int) -> tuple[Profile, ...]:
    """The optimization profiles of a model.

    The length that most elements of the inputs hang on is put into buckets; a second one (the query beside its
    candidates) ranges over all. Where none varies, batches alone are told apart.
    """
    batches = [Bucket(1, 1, 1)]
    if max_batch > 1:
        batches.append(Bucket(2, min(BATCH, max_batch), max_batch))
    kinds = varying(model)
    if not kinds:
        return tuple({tensor.name: _range(tensor, batch, {}) for tensor in model.inputs} for batch in batches)
    chief = max(kinds, key=lambda kind: _elements(model, kind))
    whole = {kind: fit(chances(lengths[kind.name], kind), 1, kind.most) for kind in kinds}
    return tuple(
        {tensor.name: _range(tensor, batch, {**whole, chief: bucket}) for tensor in model.inputs}
        for batch in batches
        for bucket in buckets(chances(lengths[chief.name], chief))
    )


def varying(model: contract.Model) -> list[Length]:
    """The kinds of length that vary in a model's inputs."""
    return list(dict.fromkeys(VARYING[tensor.name] for tensor in model.inputs if -1 in tensor.dims))


def shape(tensor: contract.Tensor, batch: int, length: int) -> tuple[int, ...]:
    """A tensor's shape, batch first."""
    return (batch, *(length if dim == -1 else dim for dim in tensor.dims))


def _elements(model: contract.Model, kind: Length) -> int:
    """Return how many elements of a model's inputs one more of a length adds to a request."""
    tensors = [tensor for tensor in model.inputs if VARYING.get(tensor.name) == kind]
    return sum(math.prod(dim for dim in tensor.dims if dim != -1) for tensor in tensors)


def usual_lengths(model: contract.Model, lengths: Mapping[str, Histogram]) -> Iterator[tuple[float, dict[str, int]]]:
    """Combinations of a model's served lengths by kind, the most probable first, with their probability."""
    each = {kind.name: chances(lengths[kind.name], kind) for kind in varying(model)}
    served = [[length for length, chance in some.items() if chance] for some in each.values()]
    combined = (
        (math.prod(some[length] for some, length in zip(each.values(), chosen, strict=True)), chosen)
        for chosen in itertools.product(*served)
    )
    for chance, chosen in sorted(combined, key=lambda one: (-one[0], one[1])):
        yield chance, dict(zip(each, chosen, strict=True))


def _range(tensor: contract.Tensor, batch: Bucket, lengths: Mapping[Length, Bucket]) -> Range:
    length = lengths[VARYING[tensor.name]] if -1 in tensor.dims else Bucket(0, 0, 0)
    return Range(
        min=shape(tensor, batch.least, length.least),
        opt=shape(tensor, batch.usual, length.usual),
        max=shape(tensor, batch.most, length.most),
    )
