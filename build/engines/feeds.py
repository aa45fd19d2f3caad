"""Inputs for a model at a given shape: random, but of the kind that the steps send."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import triton_to_np_dtype

from shelfbridge import contract
from shelfbridge.engine import Shape
from shelfbridge.shelf.history import KINDS

Feeds = dict[str, NDArray[Any]]


def feeds(model: contract.Model, shapes: dict[str, Shape], vocabulary: int, seed: int = 7) -> Feeds:
    """Arrays of these shapes for every input of a model.

    Args:
        shapes: by tensor, batch first.
        vocabulary: word pieces that the tokenizer knows.
    """
    random = np.random.default_rng(seed)
    made = {one.name: _drawn(random, one, shapes[one.name], vocabulary) for one in model.inputs}
    if contract.CANDIDATE_LENGTHS.name in made:
        made[contract.CANDIDATE_LENGTHS.name] %= shapes[contract.CANDIDATE_TOKENS.name][2]
        made[contract.CANDIDATE_LENGTHS.name] += 1
    return made


def _drawn(random: np.random.Generator, tensor: contract.Tensor, shape: Shape, vocabulary: int) -> NDArray[Any]:
    """What a tensor may hold."""
    drawn: NDArray[Any]
    match tensor.name:
        case contract.INPUT_IDS.name | contract.PAIR_IDS.name:
            drawn = random.integers(0, vocabulary, shape, np.int64)
        case contract.ATTENTION_MASK.name | contract.PAIR_MASK.name | contract.EVENT_MASK.name:
            # Ones that end somewhere in the second half
            ends = random.integers(-(-shape[-1] // 2), shape[-1] + 1, (*shape[:-1], 1))
            drawn = np.arange(shape[-1]) < ends
        case contract.PAIR_TYPES.name:
            drawn = np.broadcast_to(np.arange(shape[-1]) >= shape[-1] // 3, shape)
        case contract.TOKEN_VECTORS.name | contract.EVENT_VECTORS.name:  # of lengths between 0.5 and 1.5
            drawn = random.standard_normal(shape)
            drawn *= random.uniform(0.5, 1.5, (*shape[:-1], 1)) / np.linalg.norm(drawn, axis=-1, keepdims=True)
        case contract.CANDIDATE_TOKENS.name:
            drawn = random.integers(-60, 61, shape, np.int8)
        case contract.CANDIDATE_LENGTHS.name:
            drawn = random.integers(0, contract.STORED_TOKENS, shape, np.int32)
        case contract.CANDIDATE_COSINES.name:
            # A candidate is nearly as close to one other as to the next. The ranker averages the cosines of the ten
            # best by late interaction: random vectors tie there, rounding decides who is tenth, and with cosines drawn
            # freely that would pass for an error of the engine.
            drawn = random.uniform(-1, 1, (*shape[:-1], 1)) + random.uniform(-0.01, 0.01, shape)
        case contract.CANDIDATE_SIGNALS.name | contract.SHELF_SIGNALS_TENSOR.name:
            drawn = random.standard_normal(shape)
        case contract.EVENT_AGES.name:
            drawn = random.uniform(0, 300, shape)
        case contract.EVENT_KINDS.name:
            drawn = random.integers(0, len(KINDS), shape, np.int64)
        case contract.SORTED_SCORES.name:
            drawn = -np.sort(-random.standard_normal(shape), axis=-1)
        case _:
            raise KeyError(tensor.name)
    return drawn.astype(triton_to_np_dtype(tensor.dtype))
