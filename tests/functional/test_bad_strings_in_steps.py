"""A malformed string sent straight to a step, over and over, is not held against the searches beside it."""

import grpc
import numpy as np
import pytest

from shelfbridge.contract import CANDIDATES, EMBEDDING_WIDTH
from tests.functional.conftest import apart
from tests.functional.wire import Wire, message

pytestmark = pytest.mark.usefixtures("unharmed")
BROKEN = b"\xff\xff\xff\xffred"
TIMELINE = ("timeline", "INT64", [1, 2], np.zeros(2, np.int64).tobytes())
OTHERS = {
    "preprocess": ("query", []),
    "retrieve": ("request", [("embedding", "FP32", [1, EMBEDDING_WIDTH], bytes(4 * EMBEDDING_WIDTH)), TIMELINE]),
    "postprocess": (
        "request",
        [
            ("candidate_rows", "INT32", [1, CANDIDATES], bytes(4 * CANDIDATES)),
            ("scores", "FP32", [1, CANDIDATES], bytes(4 * CANDIDATES)),
            TIMELINE,
        ],
    ),
}


@apart
@pytest.mark.parametrize("model", OTHERS)
def test_fails_alone(wire: Wire, model: str) -> None:
    name, others = OTHERS[model]
    broken = message(model, (name, "BYTES", [1, 1], BROKEN), *others)
    calls = [wire.stub.ModelInfer.future(broken, timeout=30) for _ in range(50)]
    codes = {error.code() for call in calls if (error := call.exception()) and isinstance(error, grpc.RpcError)}
    assert codes == {grpc.StatusCode.INVALID_ARGUMENT}
