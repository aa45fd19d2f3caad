"""All of a call that is neither waiting nor sending: settings, the deadline, retries, and the result.

Clients for threads and for event loops differ in how they wait; a call is a generator of what is to be waited for.
"""

import random
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import update_wrapper
from inspect import signature
from typing import Any, Literal, TypeVar, get_args
from uuid import uuid4

from tritonclient.grpc import InferInput
from tritonclient.utils import InferenceServerException

from shelfbridge.client._connection import TLS, Connection, check_seconds, is_visible_ascii, token_header
from shelfbridge.client._faults import fault, late
from shelfbridge.client._protocol import Reply, Result
from shelfbridge.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    InvalidQuery,
    Overloaded,
    ServerFault,
    SettingsError,
)

Method = TypeVar("Method", bound=Callable[..., Any])
FIRST_PAUSE = 0.05
"""Seconds before the first retry, the second waits twice that, and so on; each is shortened by up to half at random,
so that clients that failed together do not come back together."""
BURST = 10
"""Retries that a client may make at once."""
SHARE = 0.1
"""Retries that each answered request allows on top."""
MAX_REQUEST_ID = 128
UNREADY = (ConnectionFailed, DeadlineExceeded, Overloaded)
"""What `ready` answers with False."""


class RetryBudget:
    """The retries that all calls of a client may still make, a token bucket as in gRPC's retry throttling.

    A few failures are tried again at once; while most requests fail, next to nothing is, so that clients do not
    multiply the load of a server that is in trouble. Threads may share it.
    """

    def __init__(self) -> None:
        self._left = float(BURST)
        self._lock = threading.Lock()

    def earn(self) -> None:
        """Count an answered request."""
        with self._lock:
            self._left = min(float(BURST), self._left + SHARE)

    def spend(self) -> bool:
        """Take one retry; False if none is left."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True


@dataclass(frozen=True)
class Request:
    """A request to be sent: a method of tritonclient's clients, and its arguments."""

    method: Literal["infer", "is_model_ready"]
    arguments: dict[str, Any]


Asked = Generator[Request | float, Any, Result]
"""A call under way. It yields what is to be waited for, a request or a pause in seconds, is sent the reply, or has the
error of a request thrown into it, and returns the result."""


def ask(
    client: "BaseClient",
    model: str,
    inputs: list[InferInput],
    read: Callable[[Reply], Result],
    *,
    timeout: float | None = None,
    request_id: str | None = None,
) -> Asked[Result]:
    """Ask a model, again where that is safe and the client's settings allow it; the time begins with the first request.

    The server is told twice what is left of the deadline. gRPC's own deadline cancels the call there when it has
    passed. Triton's parameter `timeout`, in microseconds, is what queues and steps can read before they begin: an
    ensemble hands each of its steps the figure that it was given, so it counts from the arrival of the request.

    Raises:
        SearchError: there is no answer, and trying again is not safe, not allowed, beyond the client's budget of
            retries, or would be too late.
        ServerFault: the reply is not what the contract says.
    """
    seconds, name = client._seconds(timeout), _request_id(request_id)
    begun, attempts = time.monotonic(), 0
    about: dict[str, Any] = {"address": client.address, "timeout": seconds, "request_id": name}
    headers = {**client._headers, "x-request-id": name}
    while True:
        left = begun + seconds - time.monotonic()
        if left <= 0:
            raise late(**about)
        attempts += 1
        sent = {"model_name": model, "inputs": inputs, "request_id": name, "headers": headers}
        try:
            reply = yield Request("infer", {**sent, "client_timeout": left, "timeout": max(1, int(left * 1e6))})
            break
        except InferenceServerException as error:
            found = fault(error, **about)
            pause = FIRST_PAUSE * 2.0 ** (attempts - 1) * random.uniform(0.5, 1)
            may_wait = found.again and attempts <= client._retries and pause < begun + seconds - time.monotonic()
            if not may_wait or not client._budget.spend():
                raise found.error from error
        yield pause
    client._budget.earn()
    try:
        return read(Reply(reply, model, name, 1000 * (time.monotonic() - begun), attempts))
    except Exception as error:  # whatever a foreign reply breaks in numpy, json or tritonclient
        raise ServerFault(
            f"the reply of {model} does not follow the contract ({type(error).__name__}: {error}); "
            "use a client and a server of one version",
            request_id=name,
        ) from error


def ask_ready(client: "BaseClient", model: str, timeout: float | None) -> Asked[bool]:
    """Ask whether a model would answer now.

    Raises:
        SearchError: the server says more than that nothing is ready.
    """
    seconds = client._seconds(timeout)
    arguments = {"model_name": model, "headers": client._headers, "client_timeout": seconds}
    try:
        return bool((yield Request("is_model_ready", arguments)))
    except InferenceServerException as error:
        found = fault(error, address=client.address, timeout=seconds, request_id=None).error
        if isinstance(found, UNREADY):
            return False
        raise found from error


class BaseClient:
    """The settings of a client, checked, and the calls made from them.

    Args:
        address: host:port of the server's or the gateway's gRPC endpoint.
        tls: encrypts the connection; None sends everything in clear, the token too.
        token: sent with each request as `authorization: Bearer …`; never shown.
        timeout: seconds that a call may take from begin to answer, retries and pauses included. The server is told
            what is left of it.
        retries: how often a request is sent again when the server is unavailable. What was refused to shed load, or
            failed in another way, is never sent again, and all calls of a client share a budget: 10 retries, and one
            more for every ten requests answered.
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
        if not isinstance(address, str) or not is_visible_ascii(address) or "://" in address:
            raise SettingsError(f"address is {address!r}; give host:port, such as localhost:8001")
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise SettingsError(f"retries is {retries!r}; give 0 or more")
        self.address = address
        self._tls = tls
        self._tls_arguments = tls.arguments() if tls else {}
        self._headers = token_header(token)
        self._timeout = check_seconds("timeout", timeout)
        self._retries = retries
        self._budget = RetryBudget()
        self._channel_args = (connection or Connection()).channel_args()
        self._closed = False
        self._connect()

    def _connect(self) -> None:
        """Make the connection, where that can be done before the first call."""

    def __repr__(self) -> str:
        extras = f"tls={self._tls is not None}, token={'***' if self._headers else None}"
        return f"{type(self).__name__}({self.address!r}, {extras}, timeout={self._timeout:g}, retries={self._retries})"

    def _seconds(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else check_seconds("timeout", timeout)

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionFailed(f"this client of {self.address} was closed; make a new one")


def like(build: Callable[..., Asked[Any]]) -> Callable[[Method], Method]:
    """Give a method the name, the documentation and the arguments of the call that it waits for.

    It returns what the call results in, so that `help` and editors show the method as it is used.
    """

    def dressed(method: Method) -> Method:
        update_wrapper(method, build)
        *_, result = get_args(build.__annotations__["return"])
        vars(method)["__signature__"] = signature(build).replace(return_annotation=result)
        return method

    return dressed


def _request_id(given: str | None) -> str:
    if given is None:
        return uuid4().hex
    if not isinstance(given, str) or not is_visible_ascii(given) or len(given) > MAX_REQUEST_ID:
        raise InvalidQuery(f"request_id: give 1 to {MAX_REQUEST_ID} visible ASCII characters, or none")
    return given
