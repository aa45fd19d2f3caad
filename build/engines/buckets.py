"""Optimization profiles from the shop's own word-piece lengths.

TensorRT times its kernels at a profile's `opt` shape and runs them for every shape between `min` and `max`; nothing is
padded to a bucket. What is lost is lost to distance: a length far from `opt` runs on kernels chosen for another. So
lengths are put into the fewest buckets whose mean distance from a length to its bucket's `opt` is within `DISTANCE` of
the mean length or a quarter of `STEP` (one-dimensional k-medians, by dynamic programming over edges at multiples of
`STEP`).

Lengths are counted as they are served (`shelfbridge.lengths`), so a profile is tuned, and a CUDA graph captured, for a
shape that comes. The `min` of a profile is no served shape: it follows the `max` of the one before, so that whatever a
caller of a single model sends finds its profile.

A batch of one has buckets of its own beside larger batches: latency and throughput want other kernels. The profiles
of a model do not overlap and leave no gap, so one and only one admits a shape; with more, Triton's distance rule would
choose, and two programs could choose differently.
"""

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfbridge import contract
from shelfbridge.engine import Range
from shelfbridge.errors import ArtefactError

Histogram = Mapping[int, int]
"""Counts by length."""
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
KINDS = (QUERY, CANDIDATES, PAIR)
"""Of `lengths.json`, which counts the lengths of served tensors; those of events are told by the shelf
(`with_events`)."""
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


def read_lengths(file: Path) -> dict[str, dict[int, int]]:
    """The histograms of a release's `lengths.json`, by kind.

    Raises:
        ArtefactError: the file is missing, or lacks a kind.
    """
    try:
        raw = json.loads(file.read_text())
        lengths = {
            kind.name: {int(length): int(count) for length, count in raw[kind.name].items() if int(count) > 0}
            for kind in KINDS
        }
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ArtefactError(f"{file} holds no histograms of lengths ({error!r}); build the release again") from error
    for name, histogram in lengths.items():
        if not histogram or min(histogram) < 1:
            raise ArtefactError(f"{file}: the histogram of {name} is empty or has no length; build the release again")
    return lengths


def with_events(lengths: dict[str, dict[int, int]], manifest: Mapping[str, Any]) -> dict[str, dict[int, int]]:
    """Histograms with that of a shopper's events, where the release has a shelf.

    Args:
        lengths: of queries, products and pairs.
        manifest: of the release.
    """
    if "shelf" not in manifest:
        return lengths
    events = {min(max(1, int(length)), EVENT.most): count for length, count in manifest["shelf"]["events"].items()}
    return {**lengths, EVENT.name: events}


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
    edges = [*range(STEP, end, STEP), end]
    mean = sum(length * weight for length, weight in weights.items())
    best: dict[int, tuple[float, tuple[Bucket, ...]]] = {0: (0.0, ())}
    """Cost and buckets of all lengths up to an edge."""
    chosen: tuple[float, tuple[Bucket, ...]] = (math.inf, ())
    for _ in range(min(most, len(edges))):
        best = {
            edge: min(
                (
                    (cost + distance(weights, bucket), (*made, bucket))
                    for start, (cost, made) in best.items()
                    if start < edge
                    for bucket in [fit(weights, start + 1, edge)]
                ),
                key=lambda one: one[0],
            )
            for edge in edges
            if any(start < edge for start in best)
        }
        chosen = min(chosen, best[end], key=lambda one: one[0])
        if chosen[0] <= max(DISTANCE * mean, STEP / 4):
            break
    return list(chosen[1])


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
