"""One hostile request, as it travels and as it is kept so that it can be sent again."""

import base64
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self, get_args

Way = Literal["gateway", "direct"]
Form = Literal["call", "messages", "cancelled", "stream", "open", "frames", "plain"]
"""A call of gRPC; one with several messages; one that its caller gives up; bytes as the data of a stream of HTTP/2;
those of a stream that its caller does not end; bytes after HTTP/2's preface; bytes without TLS.
"""
BOTH: tuple[Way, ...] = get_args(Way)
INFER = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Attack:
    """One request."""

    category: str
    message: bytes
    refused: tuple[Way, ...] = ()
    """Ways by which an answer is wrong; by others it may be answered, as a harmless mutation is."""
    path: str = INFER
    metadata: tuple[tuple[str, str], ...] = ()
    token: str = "good"
    """Which of the tokens it brings."""
    form: Form = "call"
    timeout: float = 20.0
    way: Way = "gateway"

    def by(self, way: Way) -> Self:
        """The same by another way."""
        return replace(self, way=way)

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return {**asdict(self), "message": base64.b64encode(self.message).decode()}

    @classmethod
    def of_json(cls, given: dict[str, Any]) -> Self:
        """Out of a file."""
        pairs = tuple((name, value) for name, value in given["metadata"])
        message, refused = base64.b64decode(given["message"]), tuple(given["refused"])
        return cls(**{**given, "message": message, "metadata": pairs, "refused": refused})
