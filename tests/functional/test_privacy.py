"""A user's data, asked for over the wire: only a whole question by the right user is answered."""

import grpc
import pytest

from tests.functional.wire import Wire, message, packed

SECRET = b"raw-id-of-nobody"


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        pytest.param({"user": SECRET, "action": b"sell"}, "ask for export or forget", id="action"),
        pytest.param({"user": b"", "action": b"forget"}, "user is empty", id="nobody"),
        pytest.param({"user": SECRET * 17, "action": b"export"}, "user is 272 bytes long; send at most 256", id="long"),
        pytest.param({"user": SECRET + b"\xff", "action": b"export"}, "user is not UTF-8", id="not UTF-8"),
        pytest.param(
            {"user": SECRET, "action": b"forget", "user_token": b"forged\xff"},
            "permission: the token is not",
            id="token",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused(wire: Wire, asked: dict[str, bytes], reason: str) -> None:
    sent = message("privacy", *((name, "BYTES", [1], packed(value)) for name, value in asked.items()))
    code, said = wire.refusal(sent)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert reason in said
    assert SECRET.decode() not in said
