"""Calls to tensors and tensors to results, by the contract: pure, so that all clients speak alike.

The server judges what is asked. Here a value is refused only where its type cannot be put on the wire.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast, get_args

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferResult

from shelfbridge.client._results import Hit, Receipt, RefusedEvent, SearchResult, ShelfHit, ShelfResult
from shelfbridge.contract import (
    ACCEPTED,
    ACTION,
    EVENTS,
    EXPLORED,
    FILTERS,
    HIT_SCORES,
    ITEMS,
    PAYLOAD,
    PRODUCT_IDS,
    QUERY,
    REASONS,
    RECORD,
    SHELF,
    SHOWN,
    STEP_TIMES,
    STEPS,
    USER,
    USER_TOKEN,
    USER_TOKENS,
    WANTED_USER,
    WITH_ITEM,
    WITH_PAYLOAD,
    K,
    Shelf,
    Tensor,
)
from shelfbridge.errors import InvalidQuery, ServerFault
from shelfbridge.profiles.events import MAX_BYTES, MAX_ROWS, Event
from shelfbridge.request import Filters

PERSONAL = "search_personal"
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


@dataclass(frozen=True)
class Question(Generic[Result]):
    """A model, its inputs, and what its reply means."""

    model: str
    inputs: list[InferInput]
    read: Callable[[Reply], Result]

    def result(self, reply: Reply) -> Result:
        """The reply as a result.

        Raises:
            ServerFault: the reply is not what the contract says.
        """
        try:
            return self.read(reply)
        except Exception as error:  # whatever a foreign reply breaks in numpy, json or tritonclient
            raise ServerFault(
                f"the reply of {self.model} does not follow the contract ({type(error).__name__}: {error}); "
                "use a client and a server of one version",
                request_id=reply.request_id,
            ) from error


def search(
    query: str,
    *,
    k: int,
    filters: FilterLike,
    user: str | None,
    with_payload: bool,
    model: str,
    user_token: str | None = None,
    items: Sequence[str] = (),
) -> Question[SearchResult]:
    """A search; all inputs of its ensemble are sent, as Triton joins only requests with the same set of them.

    Raises:
        InvalidQuery: a value has the wrong type or cannot be encoded. The message does not show it.
    """
    inputs = [
        _input(QUERY, query),
        _input(K, k),
        _input(FILTERS, _json(filters or {})),
        _input(USER, _given(user)),
        _input(WITH_PAYLOAD, with_payload),
    ]
    if model == PERSONAL:
        inputs += [_input(USER_TOKEN, _given(user_token)), _ids(items)]
    return Question(
        model,
        inputs,
        lambda reply: SearchResult(hits=tuple(Hit(*hit) for hit in reply.hits()), steps=reply.steps(), **reply.about()),
    )


def shelf(
    *,
    user: str | None,
    user_token: str | None,
    items: Sequence[str],
    with_item: str | None,
    kind: Shelf | None,
    k: int,
    filters: FilterLike,
    with_payload: bool,
) -> Question[ShelfResult]:
    """A shelf, as `search`."""
    inputs = [
        _input(USER, _given(user)),
        _input(USER_TOKEN, _given(user_token)),
        _ids(items),
        _input(WITH_ITEM, _given(with_item)),
        _input(SHELF, _given(kind)),
        _input(K, k),
        _input(FILTERS, _json(filters or {})),
        _input(WITH_PAYLOAD, with_payload),
    ]
    return Question("recommend", inputs, _read_shelf)


def _read_shelf(reply: Reply) -> ShelfResult:
    explored = [bool(one) for one in reply.array(EXPLORED)]
    (shown,) = (raw.decode() for raw in reply.array(SHOWN))
    if shown not in get_args(Shelf):
        raise ValueError(f"{shown!r} is no kind of shelf")
    hits = tuple(ShelfHit(*hit, one) for hit, one in zip(reply.hits(), explored, strict=True))
    return ShelfResult(shown=cast("Shelf", shown), hits=hits, steps=reply.steps(), **reply.about())


def events(rows: Sequence[EventLike], user_tokens: Sequence[str] | None) -> list[Question[Receipt]]:
    """Events in batches that a server takes; the receipts say places within each.

    Raises:
        InvalidQuery: an event is no `Event` and no mapping that JSON can hold, or there are more or fewer tokens.
    """
    if user_tokens is not None and len(user_tokens) != len(rows):
        raise InvalidQuery(f"{len(user_tokens)} user_tokens for {len(rows)} events; give one for each, or none")
    encoded = [_event(row) for row in rows]
    tokens = [_utf8("user_tokens", token) for token in user_tokens or ()]
    questions = []
    for part in _batches(encoded):
        inputs = [_column(EVENTS, encoded[part])]
        if user_tokens is not None:
            inputs.append(_column(USER_TOKENS, tokens[part]))
        questions.append(Question("events", inputs, partial(_read_receipt, first=part.start)))
    return questions


def _batches(rows: Sequence[bytes]) -> Iterator[slice]:
    start, size = 0, 0
    for place, row in enumerate(rows):
        if place > start and (place - start == MAX_ROWS or size + len(row) > MAX_BYTES):
            yield slice(start, place)
            start, size = place, 0
        size += len(row)
    if rows:
        yield slice(start, len(rows))


def _read_receipt(reply: Reply, first: int) -> Receipt:
    accepted = [bool(one) for one in reply.array(ACCEPTED)]
    reasons = [raw.decode() for raw in reply.array(REASONS)]
    refused = tuple(
        RefusedEvent(first + place, reason)
        for place, (taken, reason) in enumerate(zip(accepted, reasons, strict=True))
        if not taken
    )
    return Receipt(sum(accepted), refused)


def joined(receipts: Sequence[Receipt]) -> Receipt:
    """The receipts of all batches as one."""
    refused = tuple(one for receipt in receipts for one in receipt.refused)
    return Receipt(sum(receipt.accepted for receipt in receipts), refused)


def privacy(user: str, user_token: str | None, action: str) -> Question[dict[str, Any]]:
    """`export` or `forget`.

    Raises:
        InvalidQuery: as `search`.
    """
    inputs = [
        _column(WANTED_USER, [_utf8("user", user)]),
        _column(USER_TOKEN, [_utf8("user_token", _given(user_token))]),
        _column(ACTION, [action.encode()]),
    ]

    def read(reply: Reply) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(reply.array(RECORD)[0])
        return record

    return Question("privacy", inputs, read)


def _given(value: str | None) -> str:
    """The value, or the empty text that stands for none on the wire."""
    return "" if value is None else value


def _input(tensor: Tensor, value: object) -> InferInput:
    """One value of a model with a batch dimension."""
    wire, dtype, checked = _WIRE[tensor.dtype]
    encoded = InferInput(tensor.name, [1, 1], wire)
    encoded.set_data_from_numpy(np.array([[checked(tensor.name, value)]], dtype))
    return encoded


def _column(tensor: Tensor, values: Sequence[bytes]) -> InferInput:
    """Strings of a model without a batch dimension."""
    encoded = InferInput(tensor.name, [len(values)], "BYTES")
    encoded.set_data_from_numpy(np.array(values, np.object_))
    return encoded


def _ids(values: Sequence[str]) -> InferInput:
    """Product ids; an empty one where there is none, as the server skips it."""
    if isinstance(values, str):
        raise InvalidQuery(f"{ITEMS.name} is of type str; give a list of product ids")
    ids = [_utf8(ITEMS.name, value) for value in values] or [b""]
    encoded = InferInput(ITEMS.name, [1, len(ids)], "BYTES")
    encoded.set_data_from_numpy(np.array([ids], np.object_))
    return encoded


def _event(row: EventLike) -> bytes:
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


def _json(filters: object) -> str:
    if isinstance(filters, Filters):
        filters = filters.model_dump(exclude_none=True)
    if not isinstance(filters, Mapping):
        raise InvalidQuery(f"filters is of type {type(filters).__name__}; give Filters or a mapping")
    try:
        return json.dumps(dict(filters), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidQuery(f"filters: {error}; use text, finite numbers, booleans and None") from error


_WIRE: Mapping[str, tuple[str, Any, Callable[[str, object], object]]] = {
    "STRING": ("BYTES", np.object_, _utf8),
    "INT32": ("INT32", np.int32, _int32),
    "BOOL": ("BOOL", np.bool_, _bool),
}
"""By data type of the contract: its name on the wire, numpy's, and what checks and encodes a value."""
