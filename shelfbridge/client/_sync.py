"""The clients for threads."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from shelfbridge.client import _protocol
from shelfbridge.client._base import BaseClient, Call, ensemble
from shelfbridge.client._protocol import EventLike, FilterLike, Result
from shelfbridge.client._results import Receipt, SearchResult, ShelfResult
from shelfbridge.contract import DEFAULT_K, Shelf


class ThreadClient(BaseClient):
    """A connection to one address, made at the first call and kept.

    Threads may share a client; make it after a fork, not before. Under gevent, call
    `grpc.experimental.gevent.init_gevent()` after monkey-patching and before the first client, and raise
    `gevent.get_hub().threadpool.maxsize`: each call that waits takes a thread of that pool, and there are 10.

    Arguments and errors are those of `BaseClient`.
    """

    def _connect(self) -> None:
        self._triton = InferenceServerClient(self.address, channel_args=self._channel_args, **self._tls_arguments)

    def close(self) -> None:
        """Close the connection; again is harmless. Calls under way in other threads end in ConnectionFailed."""
        self._closed = True
        self._triton.close()

    def _answer(self, call: Call[Result]) -> Result:
        while True:
            self._check_open()
            try:
                reply = self._triton.infer(**call.attempt())
            except InferenceServerException as error:
                self._check_open()
                time.sleep(call.pause_after(error))
            else:
                return call.result(reply)

    def _ready(self, model: str, timeout: float | None) -> bool:
        seconds = self._seconds(timeout)
        self._check_open()
        try:
            return bool(self._triton.is_model_ready(model, headers=self._headers, client_timeout=seconds))
        except InferenceServerException as error:
            return self._unready(error, seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class SearchClient(ThreadClient):
    """Searches; see `BaseClient` for its arguments."""

    def search(
        self,
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
    ) -> SearchResult:
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
            Overloaded: the server refused the request to protect the others, at the last attempt too.
            ConnectionFailed: no server was reached, at the last attempt too, or the client was closed.
            PermissionRefused: a token or the client certificate was refused.
            ServerFault: the server failed, or its reply is not of this contract.
            SettingsError: the timeout is not a number of seconds.
        """
        question = _protocol.search(
            query,
            k=k,
            filters=filters,
            user=user,
            with_payload=with_payload,
            model=ensemble(deep, personal),
            user_token=user_token,
            items=items,
        )
        return self._answer(self._call(question, timeout=timeout, request_id=request_id))

    def ready(self, *, deep: bool = False, timeout: float | None = None) -> bool:
        """Whether a search would be taken up now; False too where no server answers in time.

        Raises:
            PermissionRefused, ServerFault: as for `search`.
        """
        return self._ready(ensemble(deep), timeout)


class ShopperClient(ThreadClient):
    """Shelves, and what shoppers do; see `BaseClient` for its arguments."""

    def recommend(
        self,
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
    ) -> ShelfResult:
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
            request_id: as for `SearchClient.search`.

        Raises:
            InvalidQuery: the server, or Python's types, refuse a value, as a product beside which nothing is known.
            SearchError: else as for `SearchClient.search`.
        """
        question = _protocol.shelf(
            user=user,
            user_token=user_token,
            items=items,
            with_item=with_item,
            kind=shelf,
            k=k,
            filters=filters,
            with_payload=with_payload,
        )
        return self._answer(self._call(question, timeout=timeout, request_id=request_id))

    def send(
        self,
        events: Sequence[EventLike],
        *,
        user_tokens: Sequence[str] | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Receipt:
        """Have events kept. Sending them again, alone or after a failure, changes nothing: their ids are known.

        Args:
            events: `shelfbridge.profiles.Event`, or mappings of its fields; any number, sent in batches.
            user_tokens: proof for each that it is its user's, where the server asks for it.
            timeout: seconds for each batch instead of the client's.
            request_id: as for `SearchClient.search`; all batches bear it.

        Raises:
            InvalidQuery: an event cannot be written as JSON, or the server refuses a batch as a whole.
            SearchError: else as for `SearchClient.search`; send all again.
        """
        questions = _protocol.events(events, user_tokens)
        calls = (self._call(question, timeout=timeout, request_id=request_id) for question in questions)
        return _protocol.joined([self._answer(call) for call in calls])

    def export(self, user: str, *, user_token: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        """All that is kept of a user, as `ProfileStore.export` has it.

        Raises:
            SearchError: as for `SearchClient.search`.
        """
        return self._answer(self._call(_protocol.privacy(user, user_token, "export"), timeout=timeout))

    def forget(self, user: str, *, user_token: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        """Remove all of that.

        Returns:
            What was removed.

        Raises:
            SearchError: as for `SearchClient.search`.
        """
        return self._answer(self._call(_protocol.privacy(user, user_token, "forget"), timeout=timeout))

    def ready(self, *, timeout: float | None = None) -> bool:
        """Whether a shelf would be filled now, as `SearchClient.ready`; a release built without interactions has none.

        Raises:
            PermissionRefused, ServerFault: as for `recommend`.
        """
        return self._ready("recommend", timeout)
