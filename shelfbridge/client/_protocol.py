"""Searches to tensors and tensors to results, by the contract: pure, so that both clients speak alike.

The server judges queries. Here a value is refused only where its type cannot be put on the wire.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferResult

from shelfbridge.client._results import Hit
from shelfbridge.contract import (
    FILTERS,
    HIT_SCORES,
    PAYLOAD,
    PRODUCT_IDS,
    QUERY,
    STEP_TIMES,
    STEPS,
    USER,
    WITH_PAYLOAD,
    K,
    Tensor,
)
from shelfbridge.errors import InvalidQuery, ServerFault
from shelfbridge.request import Filters

_WIRE_TYPES = {"STRING": ("BYTES", np.object_), "INT32": ("INT32", np.int32), "BOOL": ("BOOL", np.bool_)}
_INT32 = range(-(2**31), 2**31)


def encode(
    query: str, k: int, filters: Filters | Mapping[str, Any] | None, user: str | None, with_payload: bool
) -> list[InferInput]:
    """The inputs of an ensemble, each of shape [1, 1].

    All are always sent: Triton joins only requests with the same set of inputs.

    Raises:
        InvalidQuery: a value has the wrong type or cannot be encoded. The message does not show it.
    """
    if not isinstance(with_payload, bool):
        raise InvalidQuery(f"with_payload is of type {type(with_payload).__name__}; give True or False")
    return [
        _input(QUERY, _utf8("query", query)),
        _input(K, _int32("k", k)),
        _input(FILTERS, _json(filters or {})),
        _input(USER, _utf8("user", user or "")),
        _input(WITH_PAYLOAD, with_payload),
    ]


def decode(reply: InferResult, model: str, request_id: str) -> tuple[tuple[Hit, ...], dict[str, float]]:
    """The hits and the milliseconds by step in an ensemble's reply.

    Raises:
        ServerFault: the reply is not what the contract says.
    """
    try:
        ids = [raw.decode() for raw in _output(reply, PRODUCT_IDS)]
        scores = [float(score) for score in _output(reply, HIT_SCORES)]
        payload = [json.loads(raw) for raw in _output(reply, PAYLOAD)]
        times = [float(time) for time in _output(reply, STEP_TIMES)]
        products = payload or [None] * len(ids)
        hits = tuple(Hit(rank, *found) for rank, found in enumerate(zip(ids, scores, products, strict=True), start=1))
    except Exception as error:  # whatever a foreign reply breaks in numpy, json or tritonclient
        raise ServerFault(
            f"the reply of {model} does not follow the contract ({type(error).__name__}: {error}); "
            "use a client and a server of one version",
            request_id=request_id,
        ) from error
    names = STEPS[model]
    return hits, dict(zip(names, times, strict=True)) if len(times) == len(names) else {}


def _input(tensor: Tensor, value: object) -> InferInput:
    wire, dtype = _WIRE_TYPES[tensor.dtype]
    encoded = InferInput(tensor.name, [1, 1], wire)
    encoded.set_data_from_numpy(np.array([[value]], dtype))
    return encoded


def _output(reply: InferResult, tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] | None = reply.as_numpy(tensor.name)
    if array is None:
        raise ValueError(f"{tensor.name} is missing")
    return array.reshape(-1)


def _utf8(name: str, value: object) -> bytes:
    if not isinstance(value, str):
        raise InvalidQuery(f"{name} is of type {type(value).__name__}; give a str")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        # not chained: that error quotes the text
        raise InvalidQuery(f"{name} holds half a surrogate pair at {error.start}; decode it as UTF-8 anew") from None


def _int32(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InvalidQuery(f"{name} is of type {type(value).__name__}; give an int")
    if int(value) not in _INT32:
        raise InvalidQuery(f"{name} does not fit 32 bits; give a smaller number")
    return int(value)


def _json(filters: object) -> bytes:
    if isinstance(filters, Filters):
        filters = filters.model_dump(exclude_none=True)
    if not isinstance(filters, Mapping):
        raise InvalidQuery(f"filters is of type {type(filters).__name__}; give Filters or a mapping")
    try:
        return json.dumps(dict(filters), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidQuery(f"filters: {error}; use text, finite numbers, booleans and None") from error
