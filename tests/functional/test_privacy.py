"""A user's data, asked for over the wire: only a whole question by the right user is answered."""

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from deploy.embedded import EmbeddedSettings
from deploy.embedded.models import folder
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


def test_only_what_is_the_same_for_everybody_is_cached(
    repository: Path, make_settings: Callable[..., EmbeddedSettings]
) -> None:
    models = folder(make_settings(repository))
    caching = {
        file.parent.name
        for file in models.glob("*/config.pbtxt")
        if "result_cache_megabytes" in (text := file.read_text()) and 'string_value: "0"' not in text
    }
    assert caching == {"search", "search_deep"}
    assert {"events", "privacy", "recommend", "search_personal"} <= {home.name for home in models.iterdir()}
