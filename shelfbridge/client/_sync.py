"""The client for threads."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from shelfbridge.client._base import UNREADY, BaseClient, ensemble
from shelfbridge.client._connection import TLS, Connection
from shelfbridge.client._results import SearchResult
from shelfbridge.contract import DEFAULT_K
from shelfbridge.request import Filters


class SearchClient(BaseClient):
    """A connection to one address, made at the first search and kept.

    Threads may share a client; make it after a fork, not before. Under gevent, call
    `grpc.experimental.gevent.init_gevent()` after monkey-patching and before the first client.

    Args:
        address: host:port of the server's or the gateway's gRPC endpoint.
        tls: encrypts the connection; None sends everything in clear, the token too.
        token: sent with each request as `authorization: Bearer …`; never shown.
        timeout: seconds that a search may take from call to answer, retries and pauses included.
        retries: how often a search is sent again when the server is unavailable. Nothing else is ever sent again.
        connection: transport options.

    Raises:
        SettingsError: an argument cannot be used, or a TLS file is missing or not PEM.
    """

    def __init__(
        self,
        address: str = "localhost:8001",
        *,
        tls: TLS | None = None,
        token: str | None = None,
        timeout: float = 2.0,
        retries: int = 2,
        connection: Connection | None = None,
    ):
        super().__init__(address, tls=tls, token=token, timeout=timeout, retries=retries, connection=connection)
        self._triton = InferenceServerClient(address, channel_args=self._channel_args, **self._tls_arguments)

    def search(
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
        """The best `k` products for a query.

        Args:
            query: what the shopper wrote, as it is: the server normalises it.
            k: how many products, 1 to `shelfbridge.contract.MAX_K`.
            filters: conditions that each product must meet.
            user: an opaque key of the shopper, for personal steps.
            with_payload: whether each hit brings its product's fields.
            deep: whether the best few are read by the cross-encoder too; slower, meant for servers with a GPU.
            timeout: seconds for this search instead of the client's.
            request_id: 1 to 128 visible ASCII characters that name this search in logs; made up where None.

        Raises:
            InvalidQuery: the server, or Python's types, refuse a value; sending it again will not help.
            DeadlineExceeded: no answer in time.
            Overloaded: the server refused the request to protect the others, at the last attempt too.
            ConnectionFailed: no server was reached, at the last attempt too, or the client was closed.
            PermissionRefused: the token or the client certificate was refused.
            ServerFault: the server failed, or its reply is not of this contract.
            SettingsError: the timeout is not a number of seconds.
        """
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
                reply = self._triton.infer(**call.attempt())
            except InferenceServerException as error:
                self._check_open()
                time.sleep(call.pause_after(error))
            else:
                return call.result(reply)

    def ready(self, *, deep: bool = False, timeout: float | None = None) -> bool:
        """Whether a search would be taken up now; False too where no server answers in time.

        Raises:
            PermissionRefused, ServerFault: as for `search`.
        """
        seconds = self._seconds(timeout)
        self._check_open()
        try:
            return bool(self._triton.is_model_ready(ensemble(deep), headers=self._headers, client_timeout=seconds))
        except InferenceServerException as error:
            found = self._fault(error, seconds)
            if isinstance(found, UNREADY):
                return False
            raise found from error

    def close(self) -> None:
        """Close the connection; again is harmless. Searches under way in other threads end in ConnectionFailed."""
        self._closed = True
        self._triton.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
