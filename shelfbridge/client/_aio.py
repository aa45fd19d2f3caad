"""The clients for event loops: those for threads with `await`, argument for argument."""

import asyncio
from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from shelfbridge.client import _protocol
from shelfbridge.client._base import BaseClient, Call, ensemble
from shelfbridge.client._protocol import EventLike, FilterLike, Result
from shelfbridge.client._results import Receipt, SearchResult, ShelfResult
from shelfbridge.contract import DEFAULT_K, Shelf

T = TypeVar("T")


class LoopClient(BaseClient):
    """A connection to one address, made at the first call and kept.

    A client belongs to the event loop of its first call, and any number of that loop's tasks may share it; it may be
    made before the loop runs. Cancelling a task cancels its call, on the server too. gevent cannot run it.

    Arguments and errors are those of `BaseClient`.
    """

    _connected: InferenceServerClient | None = None

    async def close(self) -> None:
        """Close the connection; again is harmless. Calls under way in other tasks end in ConnectionFailed."""
        self._closed = True
        if self._connected is not None:
            await self._connected.close()

    async def _answer(self, call: Call[Result]) -> Result:
        while True:
            self._check_open()
            try:
                reply = await self._unless_closed(self._triton.infer(**call.attempt()))
            except InferenceServerException as error:
                await asyncio.sleep(call.pause_after(error))
            else:
                return call.result(reply)

    async def _ready(self, model: str, timeout: float | None) -> bool:
        seconds = self._seconds(timeout)
        self._check_open()
        asked = self._triton.is_model_ready(model, headers=self._headers, client_timeout=seconds)
        try:
            return bool(await self._unless_closed(asked))
        except InferenceServerException as error:
            return self._unready(error, seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _triton(self) -> InferenceServerClient:
        # Not in _connect: a gRPC channel binds itself to the loop that runs when it is made.
        if self._connected is None:
            self._connected = InferenceServerClient(
                self.address, channel_args=self._channel_args, **self._tls_arguments
            )
        return self._connected

    async def _unless_closed(self, sent: Awaitable[T]) -> T:
        """The reply; where closing the client ended the call, ConnectionFailed instead of gRPC's CancelledError, which
        would look to the caller as if its task had been cancelled."""
        try:
            return await sent
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                self._check_open()
            raise


class AsyncSearchClient(LoopClient):
    """Searches; see `BaseClient` for its arguments."""

    async def search(
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
        """The best `k` products for a query; arguments and errors are those of `SearchClient.search`."""
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
        return await self._answer(self._call(question, timeout=timeout, request_id=request_id))

    async def ready(self, *, deep: bool = False, timeout: float | None = None) -> bool:
        """Whether a search would be taken up now; False too where no server answers in time.

        Raises:
            PermissionRefused, ServerFault: as for `search`.
        """
        return await self._ready(ensemble(deep), timeout)


class AsyncShopperClient(LoopClient):
    """Shelves, and what shoppers do; arguments and errors are those of `ShopperClient`, method for method."""

    async def recommend(
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
        """A shelf of `k` products."""
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
        return await self._answer(self._call(question, timeout=timeout, request_id=request_id))

    async def send(
        self,
        events: Sequence[EventLike],
        *,
        user_tokens: Sequence[str] | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Receipt:
        """Have events kept."""
        questions = _protocol.events(events, user_tokens)
        calls = (self._call(question, timeout=timeout, request_id=request_id) for question in questions)
        return _protocol.joined([await self._answer(call) for call in calls])

    async def export(self, user: str, *, user_token: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        """All that is kept of a user."""
        return await self._answer(self._call(_protocol.privacy(user, user_token, "export"), timeout=timeout))

    async def forget(self, user: str, *, user_token: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        """Remove all of that; returns what was removed."""
        return await self._answer(self._call(_protocol.privacy(user, user_token, "forget"), timeout=timeout))

    async def ready(self, *, timeout: float | None = None) -> bool:
        """Whether a shelf would be filled now."""
        return await self._ready("recommend", timeout)
