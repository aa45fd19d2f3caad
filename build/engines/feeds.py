"""Inputs for a model at a given shape: random, but of the kind that the steps send."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfbridge import contract
from shelfbridge.engine import Shape
from shelfbridge.shelf.history import KINDS

Feeds = dict[str, NDArray[Any]]
Draw = Callable[[np.random.Generator, Shape, int], NDArray[Any]]


def feeds(model: contract.Model, shapes: dict[str, Shape], vocabulary: int, seed: int = 7) -> Feeds:
    """Arrays of these shapes for every input of a model.

    Args:
        shapes: by tensor, batch first.
        vocabulary: word pieces that the tokenizer knows.
    """
    random = np.random.default_rng(seed)
    drawn = {tensor.name: DRAWS[tensor.name](random, shapes[tensor.name], vocabulary) for tensor in model.inputs}
    if contract.CANDIDATE_LENGTHS.name in drawn:
        most = shapes[contract.CANDIDATE_TOKENS.name][2]
        drawn[contract.CANDIDATE_LENGTHS.name] %= most
        drawn[contract.CANDIDATE_LENGTHS.name] += 1
    return drawn


def _ids(random: np.random.Generator, shape: Shape, vocabulary: int) -> NDArray[Any]:
    return random.integers(0, vocabulary, shape, np.int64)


def _mask(random: np.random.Generator, shape: Shape, vocabulary: int) -> NDArray[Any]:
    """Rows of ones that end somewhere in their second half."""
    longest = shape[-1]
    ends = random.integers(-(-longest // 2), longest + 1, (*shape[:-1], 1))
    return (np.arange(longest) < ends).astype(np.int64)


def _types(random: np.random.Generator, shape: Shape, vocabulary: int) -> NDArray[Any]:
    return np.broadcast_to(np.arange(shape[-1]) >= shape[-1] // 3, shape).astype(np.int64)


def _vectors(random: np.random.Generator, shape: Shape, vocabulary: int) -> NDArray[Any]:
    """Vectors of lengths between 0.5 and 1.5."""
    drawn = random.standard_normal(shape)
    drawn *= random.uniform(0.5, 1.5, (*shape[:-1], 1)) / np.linalg.norm(drawn, axis=-1, keepdims=True)
    return drawn.astype(np.float32)


def _tokens(random: np.random.Generator, shape: Shape, vocabulary: int) -> NDArray[Any]:
    return random.integers(-60, 61, shape, np.int8)


def _lengths(random: np.random.Generator, shape: Shape, vocabulary: int) -> NDArray[Any]:
    return random.integers(0, contract.STORED_TOKENS, shape, np.int32)


def _cosines(random: np.random.Generator, shape: Shape, vocabulary: int) -> NDArray[Any]:
    """A candidate is nearly as close to one other as to the next.

    The ranker averages those of the ten best by late interaction. Random vectors tie there, rounding decides who is
    tenth, and with cosines drawn freely that would pass for an error of the engine.
    """
    drawn = random.uniform(-1, 1, (*shape[:-1], 1)) + random.uniform(-0.01, 0.01, shape)
    return drawn.astype(np.float32)


def _signals(random: np.random.Generator, shape: Shape, vocabulary: int) -> NDArray[Any]:
    return random.standard_normal(shape).astype(np.float32)


def _ages(random: np.random.Generator, shape: Shape, vocabulary: int) -> NDArray[Any]:
    return random.uniform(0, 300, shape).astype(np.float32)


def _kinds(random: np.random.Generator, shape: Shape, vocabulary: int) -> NDArray[Any]:
    return random.integers(0, len(KINDS), shape, np.int64)


def _sorted(random: np.random.Generator, shape: Shape, vocabulary: int) -> NDArray[Any]:
    return -np.sort(-random.standard_normal(shape).astype(np.float32), axis=-1)


DRAWS: dict[str, Draw] = {
    contract.INPUT_IDS.name: _ids,
    contract.ATTENTION_MASK.name: _mask,
    contract.TOKEN_VECTORS.name: _vectors,
    contract.CANDIDATE_TOKENS.name: _tokens,
    contract.CANDIDATE_LENGTHS.name: _lengths,
    contract.CANDIDATE_COSINES.name: _cosines,
    contract.CANDIDATE_SIGNALS.name: _signals,
    contract.PAIR_IDS.name: _ids,
    contract.PAIR_TYPES.name: _types,
    contract.PAIR_MASK.name: _mask,
    contract.SORTED_SCORES.name: _sorted,
    contract.EVENT_VECTORS.name: _vectors,
    contract.EVENT_AGES.name: _ages,
    contract.EVENT_KINDS.name: _kinds,
    contract.EVENT_MASK.name: _mask,
    contract.SHELF_SIGNALS_TENSOR.name: _signals,
}
"""What to draw by tensor."""
