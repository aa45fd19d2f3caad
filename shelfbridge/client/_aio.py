"""The client for event loops: `SearchClient` with `await`, argument for argument."""

import asyncio
from collections.abc import Awaitable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from shelfbridge.client._base import UNREADY, BaseClient, ensemble
from shelfbridge.client._results import SearchResult
from shelfbridge.contract import DEFAULT_K
from shelfbridge.request import Filters

T = TypeVar("T")


class AsyncSearchClient(BaseClient):
    """A connection to one address, made at the first search and kept.

    A client belongs to the event loop of its first search, and any number of that loop's tasks may share it; it may be
    made before the loop runs. Cancelling a task cancels its search, on the server too. gevent cannot run it.

    Arguments and errors are those of `SearchClient`.
    """

    _connected: InferenceServerClient | None = None

    async def search(
        self,
        query: str,
        *,
        k: int = DEFAULT_K,
        filters: Filters | Mapping[str, Any] | None = None,
        user: str | None = None,
        with_payload: bool = True,
        deep: bool = False,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> SearchResult:
        """The best `k` products for a query; arguments and errors are those of `SearchClient.search`."""
        call = self._call(
            query,
            k=k,
            filters=filters,
            user=user,
            with_payload=with_payload,
            deep=deep,
            timeout=timeout,
            request_id=request_id,
        )
        while True:
            self._check_open()
            try:
                reply = await self._unless_closed(self._triton.infer(**call.attempt()))
            except InferenceServerException as error:
                await asyncio.sleep(call.pause_after(error))
            else:
                return call.result(reply)

    async def ready(self, *, deep: bool = False, timeout: float | None = None) -> bool:
        """Whether a search would be taken up now; False too where no server answers in time.

        Raises:
            PermissionRefused, ServerFault: as for `search`.
        """
        seconds = self._seconds(timeout)
        self._check_open()
        asked = self._triton.is_model_ready(ensemble(deep), headers=self._headers, client_timeout=seconds)
        try:
            return bool(await self._unless_closed(asked))
        except InferenceServerException as error:
            found = self._fault(error, seconds)
            if isinstance(found, UNREADY):
                return False
            raise found from error

    async def close(self) -> None:
        """Close the connection; again is harmless. Searches under way in other tasks end in ConnectionFailed."""
        self._closed = True
        if self._connected is not None:
            await self._connected.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _triton(self) -> InferenceServerClient:
        # Not in __init__: a gRPC channel binds itself to the loop that runs when it is made.
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
