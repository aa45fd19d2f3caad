"""A step that fails on one request answers that one with a short INTERNAL error; the cause is in the log only."""

import time

import grpc
import numpy as np
import pytest

from deploy.embedded import EmbeddedServer
from shelfbridge.contract import CANDIDATES
from tests.functional.conftest import apart
from tests.functional.wire import Wire, message, packed


@apart
@pytest.mark.usefixtures("unharmed")
def test_internal_error_without_the_callers_text(server: EmbeddedServer, wire: Wire) -> None:
    code, details = wire.refusal(
        message(
            "postprocess",
            ("request", "BYTES", [1, 1], packed(b"secret words")),
            ("candidate_rows", "INT32", [1, CANDIDATES], np.zeros(CANDIDATES, np.int32).tobytes()),
            ("scores", "FP32", [1, CANDIDATES], np.zeros(CANDIDATES, np.float32).tobytes()),
            ("timeline", "INT64", [1, 2], np.zeros(2, np.int64).tobytes()),
        )
    )
    assert (code, details) == (grpc.StatusCode.INTERNAL, "ValidationError; the server's log says where")
    until = time.monotonic() + 10  # the server writes its log when it comes to it
    while "model_validate_json" not in (log := server.log_file.read_text(encoding="utf-8")):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert "secret words" not in log
