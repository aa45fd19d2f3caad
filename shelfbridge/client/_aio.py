"""The clients for event loops: those for threads with `await`, argument for argument."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from shelfbridge.client import _calls
from shelfbridge.client._base import Asked, BaseClient, Request, like
from shelfbridge.client._protocol import Result

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

    async def _answer(self, asked: Asked[Result]) -> Result:
        try:
            wait = next(asked)
            while True:
                self._check_open()
                if not isinstance(wait, Request):
                    await asyncio.sleep(wait)
                    wait = next(asked)
                    continue
                try:
                    reply = await self._unless_closed(getattr(self._triton, wait.method)(**wait.arguments))
                except InferenceServerException as error:
                    wait = asked.throw(error)
                except Exception:  # as in _sync
                    self._check_open()
                    raise
                else:
                    wait = asked.send(reply)
        except StopIteration as answered:
            result: Result = answered.value
            return result

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
    build: Callable[Concatenate[BaseClient, P], Asked[Result]],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, Result]]:
    """A call as a coroutine method that returns its answer."""

    @like(build)
    async def method(client: LoopClient, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return await client._answer(build(client, *args, **kwargs))

    return method


class AsyncSearchClient(LoopClient):
    """Searches; see `BaseClient` for its arguments."""

    search = _awaited(_calls.search)
    ready = _awaited(_calls.search_ready)


class AsyncShopperClient(LoopClient):
    """Shelves, and what shoppers do; see `BaseClient` for its arguments."""

    recommend = _awaited(_calls.recommend)
    send = _awaited(_calls.send)
    export = _awaited(_calls.export)
    forget = _awaited(_calls.forget)
    ready = _awaited(_calls.shelf_ready)
