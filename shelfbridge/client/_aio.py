"""The clients for event loops: those for threads with `await`, argument for argument."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from shelfbridge.client import _calls
from shelfbridge.client._base import BaseClient, Call, like
from shelfbridge.client._protocol import EventLike, Result
from shelfbridge.client._results import Receipt

P = ParamSpec("P")
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

    async def __aexit__(self, *exception: object) -> None:
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


def _awaited(
    build: Callable[Concatenate[BaseClient, P], Call[Result]],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, Result]]:
    """A call as a coroutine method that returns its answer."""

    @like(build)
    async def method(client: LoopClient, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return await client._answer(build(client, *args, **kwargs))

    return method


class AsyncSearchClient(LoopClient):
    """Searches; see `BaseClient` for its arguments."""

    search = _awaited(_calls.search)

    async def ready(self, *, deep: bool = False, timeout: float | None = None) -> bool:
        """Whether a search would be taken up now; as `SearchClient.ready`."""
        return await self._ready(_calls.ensemble(deep), timeout)


class AsyncShopperClient(LoopClient):
    """Shelves, and what shoppers do; see `BaseClient` for its arguments."""

    recommend = _awaited(_calls.recommend)
    export = _awaited(_calls.export)
    forget = _awaited(_calls.forget)

    async def send(
        self,
        events: Sequence[EventLike],
        *,
        user_tokens: Sequence[str] | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Receipt:
        """Have events kept; as `ShopperClient.send`."""
        calls = _calls.send(self, events, user_tokens, timeout, request_id)
        return _calls.joined([await self._answer(call) for call in calls])

    async def ready(self, *, timeout: float | None = None) -> bool:
        """Whether a shelf would be filled now."""
        return await self._ready("recommend", timeout)
