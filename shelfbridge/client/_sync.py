"""The clients for threads."""

import time
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Self

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from shelfbridge.client import _calls
from shelfbridge.client._base import Asked, BaseClient, Request, like
from shelfbridge.client._protocol import Result

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

    def _answer(self, asked: Asked[Result]) -> Result:
        try:
            wait = next(asked)
            while True:
                self._check_open()
                if not isinstance(wait, Request):
                    time.sleep(wait)
                    wait = next(asked)
                    continue
                try:
                    reply = getattr(self._triton, wait.method)(**wait.arguments)
                except InferenceServerException as error:
                    self._check_open()
                    wait = asked.throw(error)
                except Exception:  # gRPC refuses calls on a channel that was closed meanwhile, in words of its own
                    self._check_open()
                    raise
                else:
                    wait = asked.send(reply)
        except StopIteration as answered:
            result: Result = answered.value
            return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _answered(build: Callable[Concatenate[BaseClient, P], Asked[Result]]) -> Callable[Concatenate[Any, P], Result]:
    """A call as a method that returns its answer."""

    @like(build)
    def method(client: ThreadClient, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return client._answer(build(client, *args, **kwargs))

    return method


class SearchClient(ThreadClient):
    """Searches; see `BaseClient` for its arguments."""

    search = _answered(_calls.search)
    ready = _answered(_calls.search_ready)


class ShopperClient(ThreadClient):
    """Shelves, and what shoppers do; see `BaseClient` for its arguments."""

    recommend = _answered(_calls.recommend)
    send = _answered(_calls.send)
    export = _answered(_calls.export)
    forget = _answered(_calls.forget)
    ready = _answered(_calls.shelf_ready)
