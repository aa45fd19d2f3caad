"""Requests of every kind that a shop's server meets, and how each should end."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from shelfbridge.client import AsyncSearchClient
from shelfbridge.contract import MAX_K, MAX_QUERY_CHARS, QUERY
from shelfbridge.errors import SearchError

ANSWERED = "answered"
REFUSED = "InvalidQuery"
MALFORMED = 0.05
"""Share of the requests."""
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Request:
    """A search. `arguments` are those of `SearchClient.search`; raw strings go past it, as its types forbid them."""

    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)
    raw: tuple[bytes, ...] = ()
    ending: str = ANSWERED
    """`ANSWERED`, or the name of the error."""


def requests(queries: Sequence[str], seed: int = 7) -> Iterator[Request]:
    """A request a query: plain, with filters, with payloads, long, in another script, or malformed."""
    chance = random.Random(seed)
    for query in queries:
        yield _malformed(query, chance) if chance.random() < MALFORMED else _good(query, queries, chance)


def _good(query: str, queries: Sequence[str], chance: random.Random) -> Request:
    k, payload = chance.choice((1, 10, 10, 10, 25, MAX_K)), chance.random() < 0.4
    arguments: dict[str, Any] = {"query": query, "k": k, "with_payload": payload}
    kind = chance.choices(("plain", "filtered", "long", "other script"), (70, 20, 6, 4))[0]
    if kind == "filtered":
        price = round(chance.uniform(5, 300), 2)
        arguments["filters"] = chance.choice(
            ({"price_max": price}, {"in_stock": True, "price_min": price}, {"brand": query.rsplit(maxsplit=1)[-1]})
        )
    elif kind == "long":
        arguments["query"] = " ".join([query, *chance.choices(queries, k=40)])[:MAX_QUERY_CHARS]
    elif kind == "other script":
        arguments["query"] = f"{query} {chance.choice(('防水登山靴', 'قميص أزرق', 'вязаный шарф', 'ノートパソコン'))}"
    return Request(kind, arguments)


def _malformed(query: str, chance: random.Random) -> Request:
    number = chance.randrange(1000)
    arguments: dict[str, dict[str, Any]] = {
        "blank": {"query": " " * (1 + number % 50)},
        "too long": {"query": query + "x" * (MAX_QUERY_CHARS + number)},
        "k too small": {"query": query, "k": -number},
        "k too large": {"query": query, "k": MAX_K + 1 + number},
        "unknown filter": {"query": query, "filters": {f"field{number}": number}},
        "prices crossed": {"query": query, "filters": {"price_min": number + 1.0, "price_max": number}},
        "filter of another type": {"query": query, "filters": {"brand": [query]}},
    }
    raw = {
        "not UTF-8": (query.encode() + b"\xff\xfe",),
        "two at once": (query.encode(), query.encode()),
    }
    kind = chance.choice([*arguments, *raw])
    return Request(kind, arguments.get(kind, {}), raw.get(kind, ()), REFUSED)


class Sender:
    """Sends requests to one server and says how they ended. All its clients share two connections."""

    def __init__(self, address: str, deep: bool) -> None:
        self._model = "search_deep" if deep else "search"
        self._client = AsyncSearchClient(address, timeout=_TIMEOUT_S, retries=0)
        self._deep = deep
        self._triton = InferenceServerClient(address)

    async def send(self, request: Request) -> str:
        """`ANSWERED`, or the name of the error."""
        try:
            if request.raw:
                await self._triton.infer(self._model, [_raw(request.raw)], client_timeout=_TIMEOUT_S)
            else:
                await self._client.search(deep=self._deep, **request.arguments)
        except SearchError as error:
            return type(error).__name__
        except InferenceServerException as error:
            return REFUSED if error.status() == "StatusCode.INVALID_ARGUMENT" else str(error.status())
        return ANSWERED

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
        await self._triton.close()


def _raw(values: tuple[bytes, ...]) -> InferInput:
    tensor = InferInput(QUERY.name, [len(values), 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[value] for value in values], np.object_))
    return tensor
