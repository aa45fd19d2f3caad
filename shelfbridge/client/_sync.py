"""The clients for threads."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, Self

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from shelfbridge.client import _calls
from shelfbridge.client._base import BaseClient, Call, like
from shelfbridge.client._protocol import EventLike, Result
from shelfbridge.client._results import Receipt

P = ParamSpec("P")


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

    def __exit__(self, *exception: object) -> None:
        self.close()


def _answered(build: Callable[Concatenate[BaseClient, P], Call[Result]]) -> Callable[Concatenate[Any, P], Result]:
    """A call as a method that returns its answer."""

    @like(build)
    def method(client: ThreadClient, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return client._answer(build(client, *args, **kwargs))

    return method


class SearchClient(ThreadClient):
    """Searches; see `BaseClient` for its arguments."""

    search = _answered(_calls.search)

    def ready(self, *, deep: bool = False, timeout: float | None = None) -> bool:
        """Whether a search would be taken up now; False too where no server answers in time.

        Raises:
            PermissionRefused, ServerFault: as for `search`.
        """
        return self._ready(_calls.ensemble(deep), timeout)


class ShopperClient(ThreadClient):
    """Shelves, and what shoppers do; see `BaseClient` for its arguments."""

    recommend = _answered(_calls.recommend)
    export = _answered(_calls.export)
    forget = _answered(_calls.forget)

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
        calls = _calls.send(self, events, user_tokens, timeout, request_id)
        return _calls.joined([self._answer(call) for call in calls])

    def ready(self, *, timeout: float | None = None) -> bool:
        """Whether a shelf would be filled now, as `SearchClient.ready`; a release built without interactions has none.

        Raises:
            PermissionRefused, ServerFault: as for `recommend`.
        """
        return self._ready("recommend", timeout)
