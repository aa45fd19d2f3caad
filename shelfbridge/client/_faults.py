"""What went wrong, in this project's terms: from a gRPC status and the server's words to one of our exceptions."""

import re
from dataclasses import dataclass

from tritonclient.utils import InferenceServerException

from shelfbridge.contract import PERMISSION, STORE_AWAY
from shelfbridge.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    InvalidQuery,
    Overloaded,
    PermissionRefused,
    SearchError,
    ServerFault,
)

_PREFIX = re.compile(r"in ensemble '[^']*', |\[request id: .*?\] ")

_OVERLOADED = (Overloaded, "{address} is overloaded ({words}); try later or elsewhere")
_LATE = (DeadlineExceeded, "no answer from {address} within {timeout:g} s; allow more or lower the load")
_REFUSED = (PermissionRefused, "{address} refused the credentials ({words}); give a token that it accepts")
_UNREACHED = (ConnectionFailed, "no answer from {address} ({words}); check the address and that a server is up")
_AWAY = (ConnectionFailed, "{address}: {words}")
_NO_TLS = (ConnectionFailed, "no TLS with {address} ({words}); check the certificates and that it speaks TLS")
_TOO_LARGE = (InvalidQuery, "too large for one message ({words}); send less, or ask for fewer products")
_INVALID = (InvalidQuery, "{words}")
_NOT_SERVED = (ServerFault, "{address} does not serve this ({words}); check the address, or load a release that has it")
_FAILED = (ServerFault, "{address} failed ({status}: {words}); its log says more")

_BY_STATUS = {
    "INVALID_ARGUMENT": _INVALID,
    "OUT_OF_RANGE": _INVALID,
    "DEADLINE_EXCEEDED": _LATE,
    "UNAUTHENTICATED": _REFUSED,
    "PERMISSION_DENIED": _REFUSED,
    "RESOURCE_EXHAUSTED": _OVERLOADED,
    "UNAVAILABLE": _UNREACHED,
    "CANCELLED": _UNREACHED,
    "NOT_FOUND": _NOT_SERVED,
    "UNIMPLEMENTED": _NOT_SERVED,
}
_BY_WORDS = (
    ("INVALID_ARGUMENT", PERMISSION, _REFUSED),
    ("UNAVAILABLE", STORE_AWAY, _AWAY),
    ("UNAVAILABLE", "exceeds maximum queue size", _OVERLOADED),  # Triton: a step's queue is full
    ("UNAVAILABLE", "request timeout expired", _OVERLOADED),  # Triton: longer in a step's queue than allowed
    ("UNAVAILABLE", "overflow", _OVERLOADED),  # Envoy's circuit breaker
    ("UNAVAILABLE", "overload", _OVERLOADED),  # Envoy's overload manager
    ("UNAVAILABLE", "rate_limited", _OVERLOADED),  # Envoy's rate limits
    ("UNAVAILABLE", "handshake", _NO_TLS),
    ("RESOURCE_EXHAUSTED", "larger than max", _TOO_LARGE),
)
"""What the status alone does not say."""


@dataclass(frozen=True)
class Fault:
    """A failed attempt: what to raise, and whether the same request may be sent again."""

    error: SearchError
    again: bool


def fault(error: InferenceServerException, *, address: str, timeout: float, request_id: str | None) -> Fault:
    """What an attempt's failure means.

    Only UNAVAILABLE may be tried again, and only where it does not say that load was shed: what was shed would come
    back as more load, and other failures would repeat themselves or cost the server the same work once more.
    """
    status = str(error.status()).removeprefix("StatusCode.")
    words = " ".join(_PREFIX.sub("", str(error.message() or "no reason given")).split())[:500]
    kind, message = next(
        (verdict for of, part, verdict in _BY_WORDS if of == status and part in words.lower()),
        _BY_STATUS.get(status, _FAILED),
    )
    cause_and_cure = message.format(address=address, words=words, timeout=timeout, status=status)
    return Fault(kind(cause_and_cure, request_id=request_id), again=status == "UNAVAILABLE" and kind is not Overloaded)


def late(*, address: str, timeout: float, request_id: str) -> DeadlineExceeded:
    """The error of a search whose time ran out between two attempts."""
    kind, message = _LATE
    return kind(message.format(address=address, timeout=timeout), request_id=request_id)
