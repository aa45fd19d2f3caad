"""Values to tensors and tensors to values, by the contract: pure, so that all clients speak alike.

The server judges what is asked. Here a value is refused only where its type cannot be put on the wire: whatever encodes
one raises InvalidQuery then, and the message does not show the value.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferResult

from shelfbridge.contract import HIT_SCORES, ITEMS, PAYLOAD, PRODUCT_IDS, STEP_TIMES, STEPS, Tensor
from shelfbridge.errors import InvalidQuery
from shelfbridge.profiles.events import Event
from shelfbridge.request import Filters

Result = TypeVar("Result")
FilterLike = Filters | Mapping[str, Any] | None
EventLike = Event | Mapping[str, Any]

_INT32 = range(-(2**31), 2**31)


@dataclass(frozen=True)
class Reply:
    """A reply, and what its way says of it."""

    tensors: InferResult
    model: str
    request_id: str
    round_trip_ms: float
    attempts: int

    def about(self) -> dict[str, Any]:
        """The fields that all results have."""
        return {
            "model_version": str(self.tensors.get_response().model_version),
            "request_id": self.request_id,
            "round_trip_ms": self.round_trip_ms,
            "attempts": self.attempts,
        }

    def steps(self) -> dict[str, float]:
        """Milliseconds by step; none where the server has others."""
        times, names = [float(time) for time in self.array(STEP_TIMES)], STEPS[self.model]
        return dict(zip(names, times, strict=True)) if len(times) == len(names) else {}

    def array(self, tensor: Tensor) -> NDArray[Any]:
        """An output."""
        array: NDArray[Any] | None = self.tensors.as_numpy(tensor.name)
        if array is None:
            raise ValueError(f"{tensor.name} is missing")
        return array.reshape(-1)

    def hits(self) -> list[tuple[int, str, float, Any]]:
        """Rank, id, score and product of each."""
        ids = [raw.decode() for raw in self.array(PRODUCT_IDS)]
        scores = [float(score) for score in self.array(HIT_SCORES)]
        products = [json.loads(raw) for raw in self.array(PAYLOAD)] or [None] * len(ids)
        return list(zip(range(1, len(ids) + 1), ids, scores, products, strict=True))


def given(value: str | None) -> str:
    """The value, or the empty text that stands for none on the wire."""
    return "" if value is None else value


def one(tensor: Tensor, value: object) -> InferInput:
    """One value of a model with a batch dimension."""
    wire, dtype, checked = _WIRE[tensor.dtype]
    encoded = InferInput(tensor.name, [1, 1], wire)
    encoded.set_data_from_numpy(np.array([[checked(tensor.name, value)]], dtype))
    return encoded


def column(tensor: Tensor, values: Sequence[bytes]) -> InferInput:
    """Strings of a model without a batch dimension."""
    encoded = InferInput(tensor.name, [len(values)], "BYTES")
    encoded.set_data_from_numpy(np.array(values, np.object_))
    return encoded


def ids(values: Sequence[str]) -> InferInput:
    """Product ids; an empty one where there is none, as the server skips it."""
    if isinstance(values, str):
        raise InvalidQuery(f"{ITEMS.name} is of type str; give a list of product ids")
    raw = [utf8(ITEMS.name, value) for value in values] or [b""]
    encoded = InferInput(ITEMS.name, [1, len(raw)], "BYTES")
    encoded.set_data_from_numpy(np.array([raw], np.object_))
    return encoded


def event(row: EventLike) -> bytes:
    """An event as JSON."""
    try:
        return row.model_dump_json().encode() if isinstance(row, Event) else json.dumps(dict(row)).encode()
    except (TypeError, ValueError) as error:
        kind = type(error).__name__
        raise InvalidQuery(
            f"an event cannot be written as JSON ({kind}); give Event or a mapping of its fields"
        ) from None


def _bool(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidQuery(f"{name} is of type {type(value).__name__}; give True or False")
    return value


def utf8(name: str, value: object) -> bytes:
    """A text as its bytes."""
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


def as_json(filters: object) -> str:
    """Filters as JSON."""
    if isinstance(filters, Filters):
        filters = filters.model_dump(exclude_none=True)
    if not isinstance(filters, Mapping):
        raise InvalidQuery(f"filters is of type {type(filters).__name__}; give Filters or a mapping")
    try:
        return json.dumps(dict(filters), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidQuery(f"filters: {error}; use text, finite numbers, booleans and None") from error


_WIRE: Mapping[str, tuple[str, Any, Callable[[str, object], object]]] = {
    "STRING": ("BYTES", np.object_, utf8),
    "INT32": ("INT32", np.int32, _int32),
    "BOOL": ("BOOL", np.bool_, _bool),
}
"""By data type of the contract: its name on the wire, numpy's, and what checks and encodes a value."""
