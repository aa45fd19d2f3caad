"""A query that is not one is refused with the cause and the cure, and nobody else notices."""

import grpc
import pytest

from tests.functional.wire import Wire, query_message

pytestmark = pytest.mark.usefixtures("unharmed")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        pytest.param("", "query is empty; send at least one visible character", id="empty"),
        pytest.param(" \t\n\u3000", "query is empty; send at least one visible character", id="blank"),
        pytest.param("é" * 513, "query is 513 characters long; send at most 512", id="one character too many"),
        pytest.param("x" * 10_000, "query is 10000 bytes long; send at most 512 characters", id="10,000 characters"),
        pytest.param("x" * 5_000_000, "query is 5000000 bytes long; send at most 512 characters", id="5 MB"),
        pytest.param(b"red \xff\xfe", "query is not UTF-8 (byte 4); encode it as UTF-8", id="invalid UTF-8"),
        pytest.param(b"\xed\xa0\x80", "query is not UTF-8 (byte 0); encode it as UTF-8", id="lone surrogate"),
        pytest.param("red\x00shoes", "query holds the control character U+0000 at 3; remove it", id="NUL"),
        pytest.param("\x1b[31mred", "query holds the control character U+001B at 0; remove it", id="escape"),
    ],
)
def test_refused(wire: Wire, query: str | bytes, reason: str) -> None:
    code, details = wire.refusal(query_message(query))
    assert (code, details.removeprefix("in ensemble 'search', ")) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
