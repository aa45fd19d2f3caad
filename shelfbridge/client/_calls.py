"""The calls of all clients, each defined once: its arguments, what they mean, and the question that is asked.

`_sync` and `_aio` make methods of them that wait for the answer, each in its way.
"""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast, get_args

from shelfbridge.client._base import Asked, BaseClient, ask, ask_ready
from shelfbridge.client._protocol import (
    EventLike,
    FilterLike,
    Reply,
    as_json,
    column,
    event,
    given,
    ids,
    one,
    utf8,
)
from shelfbridge.client._results import Hit, Receipt, RefusedEvent, SearchResult, ShelfHit, ShelfResult
from shelfbridge.contract import (
    ACCEPTED,
    ACTION,
    DEFAULT_K,
    EVENTS,
    EXPLORED,
    FILTERS,
    QUERY,
    REASONS,
    RECORD,
    SHELF,
    SHOWN,
    USER,
    USER_TOKEN,
    USER_TOKENS,
    WANTED_USER,
    WITH_ITEM,
    WITH_PAYLOAD,
    K,
    Shelf,
)
from shelfbridge.errors import InvalidQuery
from shelfbridge.profiles.events import MAX_BYTES, MAX_ROWS


def ensemble(deep: bool, personal: bool = False) -> str:
    """The model that answers a search.

    Raises:
        InvalidQuery: both are asked for.
    """
    if deep and personal:
        raise InvalidQuery("a search is deep or personal, not both; ask for one")
    return "search_deep" if deep else "search_personal" if personal else "search"


def search(
    client: BaseClient,
    query: str,
    *,
    k: int = DEFAULT_K,
    filters: FilterLike = None,
    user: str | None = None,
    with_payload: bool = True,
    deep: bool = False,
    personal: bool = False,
    user_token: str | None = None,
    items: Sequence[str] = (),
    timeout: float | None = None,
    request_id: str | None = None,
) -> Asked[SearchResult]:
    """The best `k` products for a query.

    Args:
        query: what the shopper wrote, as it is: the server normalises it.
        k: how many products, 1 to `shelfbridge.contract.MAX_K`.
        filters: conditions that each product must meet.
        user: the shop's own id of the shopper; their profile is looked at where the search is `personal`, and
            never otherwise.
        with_payload: whether each hit brings its product's fields.
        deep: whether the best few are read by the cross-encoder too; slower, meant for servers with a GPU.
        personal: whether what the shopper did lately may move the order; needs `user` or `items`.
        user_token: proof that the request is the user's, where the server asks for it; sent if `personal`.
        items: ids of products just looked at, the latest last; sent if `personal`.
        timeout: seconds for this search instead of the client's.
        request_id: 1 to 128 visible ASCII characters that name this search in logs; made up where None.

    Raises:
        InvalidQuery: the server, or Python's types, refuse a value; sending it again will not help.
        DeadlineExceeded: no answer in time.
        Overloaded: the server refused the request to protect the others; it was not sent again.
        ConnectionFailed: no server was reached, at the last attempt too, or the client was closed.
        PermissionRefused: a token or the client certificate was refused.
        ServerFault: the server failed, or its reply is not of this contract.
        SettingsError: the timeout is not a number of seconds.
    """
    # all inputs of the ensemble, given or not: Triton joins only requests with the same set of them
    inputs = [
        one(QUERY, query),
        one(K, k),
        one(FILTERS, as_json(filters or {})),
        one(USER, given(user)),
        one(WITH_PAYLOAD, with_payload),
    ]
    if personal:
        inputs += [one(USER_TOKEN, given(user_token)), ids(items)]
    return ask(client, ensemble(deep, personal), inputs, _read_search, timeout=timeout, request_id=request_id)


def _read_search(reply: Reply) -> SearchResult:
    return SearchResult(hits=tuple(Hit(*hit) for hit in reply.hits()), steps=reply.steps(), **reply.about())


def recommend(
    client: BaseClient,
    *,
    user: str | None = None,
    user_token: str | None = None,
    items: Sequence[str] = (),
    with_item: str | None = None,
    shelf: Shelf | None = None,
    k: int = DEFAULT_K,
    filters: FilterLike = None,
    with_payload: bool = True,
    timeout: float | None = None,
    request_id: str | None = None,
) -> Asked[ShelfResult]:
    """A shelf of `k` products.

    Args:
        user: the shop's own id of the shopper.
        user_token: proof that the request is the user's, where the server asks for it.
        items: ids of products just looked at, the latest last: a session, with a user or without.
        with_item: id of the product that the shelf stands beside.
        shelf: its kind; *goes with* beside a product, else *for you*. Who is not known is shown what is popular.
        k: how many products, 1 to `shelfbridge.contract.MAX_K`.
        filters: conditions that each product must meet.
        with_payload: whether each hit brings its product's fields.
        timeout: seconds for this call instead of the client's.
        request_id: as for `search`.

    Raises:
        InvalidQuery: the server, or Python's types, refuse a value, as a product beside which nothing is known.
        SearchError: else as for `search`.
    """
    inputs = [
        one(USER, given(user)),
        one(USER_TOKEN, given(user_token)),
        ids(items),
        one(WITH_ITEM, given(with_item)),
        one(SHELF, given(shelf)),
        one(K, k),
        one(FILTERS, as_json(filters or {})),
        one(WITH_PAYLOAD, with_payload),
    ]
    return ask(client, "recommend", inputs, _read_shelf, timeout=timeout, request_id=request_id)


def _read_shelf(reply: Reply) -> ShelfResult:
    explored = [bool(one) for one in reply.array(EXPLORED)]
    (shown,) = (raw.decode() for raw in reply.array(SHOWN))
    if shown not in get_args(Shelf):
        raise ValueError(f"{shown!r} is no kind of shelf")
    hits = tuple(ShelfHit(*hit, one) for hit, one in zip(reply.hits(), explored, strict=True))
    return ShelfResult(shown=cast("Shelf", shown), hits=hits, steps=reply.steps(), **reply.about())


def export(
    client: BaseClient, user: str, *, user_token: str | None = None, timeout: float | None = None
) -> Asked[dict[str, Any]]:
    """All that is kept of a user, as `ProfileStore.export` has it.

    Raises:
        SearchError: as for `search`.
    """
    return _privacy(client, user, user_token, "export", timeout)


def forget(
    client: BaseClient, user: str, *, user_token: str | None = None, timeout: float | None = None
) -> Asked[dict[str, Any]]:
    """Remove all of that.

    Returns:
        What was removed.

    Raises:
        SearchError: as for `search`.
    """
    return _privacy(client, user, user_token, "forget", timeout)


def _privacy(
    client: BaseClient, user: str, user_token: str | None, action: str, timeout: float | None
) -> Asked[dict[str, Any]]:
    inputs = [
        column(WANTED_USER, [utf8("user", user)]),
        column(USER_TOKEN, [utf8("user_token", given(user_token))]),
        column(ACTION, [action.encode()]),
    ]
    return ask(client, "privacy", inputs, _read_record, timeout=timeout)


def _read_record(reply: Reply) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(reply.array(RECORD)[0])
    return record


def send(
    client: BaseClient,
    events: Sequence[EventLike],
    *,
    user_tokens: Sequence[str] | None = None,
    timeout: float | None = None,
    request_id: str | None = None,
) -> Asked[Receipt]:
    """Have events kept. Sending them again, alone or after a failure, changes nothing: their ids are known.

    Args:
        events: `shelfbridge.profiles.Event`, or mappings of its fields; any number, sent in batches.
        user_tokens: proof for each that it is its user's, where the server asks for it.
        timeout: seconds for each batch instead of the client's.
        request_id: as for `search`; all batches bear it.

    Raises:
        InvalidQuery: an event cannot be written as JSON, there are more or fewer tokens than events, or the server
            refuses a batch as a whole.
        SearchError: else as for `search`; send all again.
    """
    if user_tokens is not None and len(user_tokens) != len(events):
        raise InvalidQuery(f"{len(user_tokens)} user_tokens for {len(events)} events; give one for each, or none")
    encoded = [event(row) for row in events]
    tokens = [utf8("user_tokens", token) for token in user_tokens or ()]
    accepted, refused = 0, list[RefusedEvent]()
    for part in _batches(encoded):
        inputs = [column(EVENTS, encoded[part])]
        if user_tokens is not None:
            inputs.append(column(USER_TOKENS, tokens[part]))
        read = partial(_read_receipt, first=part.start)
        receipt = yield from ask(client, "events", inputs, read, timeout=timeout, request_id=request_id)
        accepted += receipt.accepted
        refused += receipt.refused
    return Receipt(accepted, tuple(refused))


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


def search_ready(client: BaseClient, *, deep: bool = False, timeout: float | None = None) -> Asked[bool]:
    """Whether a search would be taken up now; False too where no server answers in time.

    Raises:
        PermissionRefused, ServerFault: as for `search`.
    """
    return ask_ready(client, ensemble(deep), timeout)


def shelf_ready(client: BaseClient, *, timeout: float | None = None) -> Asked[bool]:
    """Whether a shelf would be filled now; a release built without interactions has none.

    Raises:
        PermissionRefused, ServerFault: as for `recommend`.
    """
    return ask_ready(client, "recommend", timeout)
