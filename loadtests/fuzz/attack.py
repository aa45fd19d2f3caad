"""One hostile request, as it travels and as it is kept so that it can be sent again; and the kinds that there are."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

Way = Literal["gateway", "direct"]
Form = Literal["call", "messages", "cancelled", "stream", "open", "frames", "plain"]
"""A call of gRPC; one with several messages; one that its caller gives up; bytes as the data of a stream of HTTP/2;
those of a stream that its caller does not end; bytes after HTTP/2's preface; bytes without TLS.
"""
BOTH: tuple[Way, ...] = get_args(Way)
SERVICE = "/inference.GRPCInferenceService/"
INFER = f"{SERVICE}ModelInfer"


class Attack(BaseModel):
    """One request."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")
    category: str
    message: bytes = b""
    refused: tuple[Way, ...] = ()
    """Ways by which an answer is wrong; by others it may be answered, as a harmless mutation is."""
    path: str = INFER
    metadata: tuple[tuple[str, str], ...] = ()
    token: str = "good"
    """Which of the tokens it brings."""
    form: Form = "call"
    timeout: float = 20.0
    way: Way = "gateway"


Make = Callable[[random.Random], Attack]
Bent = bytes | dict[str, Any] | Attack
"""A message, some fields of an `Attack` by name, or all of it."""


@dataclass(frozen=True)
class Kind:
    """One kind of requests: how one is made, and its weight among all."""

    make: Make
    often: float
    ways: tuple[Way, ...]
    given_up: bool
    """Whether their callers give them up."""


KINDS: list[Kind] = []
"""All, in the order in which `kind` declared them."""


def kind(
    category: str, often: float, *, ways: tuple[Way, ...] = BOTH, given_up: bool = False, **fields: Any
) -> Callable[[Callable[[random.Random], Bent]], Make]:
    """Declare a kind of requests by the function that makes one.

    Args:
        category: of the requests, unless the function says another.
        often: weight among all kinds.
        ways: by which they are sent.
        given_up: whether their callers give them up.
        fields: of each `Attack`.
    """

    def declare(bend: Callable[[random.Random], Bent]) -> Make:
        def make(chance: random.Random) -> Attack:
            made = bend(chance)
            if isinstance(made, Attack):
                return made
            own = made if isinstance(made, dict) else {"message": made}
            return Attack(**{"category": category, **fields, **own})

        KINDS.append(Kind(make, often, ways, given_up))
        return make

    return declare
