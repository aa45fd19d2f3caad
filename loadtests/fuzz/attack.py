"""One hostile request, as it travels and as it is kept so that it can be sent again."""

import base64
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

Way = Literal["gateway", "direct"]
Form = Literal["call", "messages", "cancelled", "frames", "plain"]
"""A call of gRPC; one with several messages; one that its caller gives up; bytes after HTTP/2's preface; bytes without
TLS.
"""
INFER = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Attack:
    """One request."""

    category: str
    message: bytes
    refused: bool = False
    """Whether any other end than a refusal is wrong; else it may be answered, as a harmless mutation is."""
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
        return cls(**{**given, "message": base64.b64decode(given["message"]), "metadata": pairs})
