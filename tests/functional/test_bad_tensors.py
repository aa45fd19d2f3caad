"""Messages that no client library sends are refused before or in the first step, and nobody else notices."""

import struct

import grpc
import pytest

from tests.functional.conftest import apart
from tests.functional.wire import Wire, message, packed

pytestmark = pytest.mark.usefixtures("unharmed")
QUERY = ("query", "BYTES", [1, 1], packed(b"red shoes"))


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        pytest.param([], "expected", id="no input"),
        pytest.param([("k", "INT32", [1, 1], struct.pack("<i", 3))], "expected", id="no query"),
        pytest.param([("query", "INT32", [1, 1], b"\0\0\0\0")], "data-type", id="query of numbers"),
        pytest.param([("query", "BYTES", [1], packed(b"x"))], "shape", id="no batch dimension"),
        pytest.param([("query", "BYTES", [1, 2], packed(b"x", b"y"))], "shape", id="two queries in a row"),
        pytest.param([("query", "BYTES", [2, 1], packed(b"x", b"y"))], "batch-size must be <= 1", id="batch of two"),
        pytest.param([("query", "BYTES", [1, 0], b"")], "shape", id="no element"),
        pytest.param([("query", "BYTES", [0, 1], b"")], "", id="no row"),
        pytest.param([QUERY, ("k", "INT32", [0, 1], b"")], "", id="no row of k"),
        pytest.param([QUERY, ("filters", "BYTES", [0, 1], b"")], "", id="no row of filters"),
        pytest.param([("query", "BYTES", [-1, 1], packed(b"x"))], "", id="negative shape"),
        pytest.param([("query", "BYTES", [1, 1], b"\xff\xff\xff\xffred")], "", id="length beyond the end"),
        pytest.param([("query", "BYTES", [1, 1], b"re")], "", id="cut off"),
        pytest.param([QUERY, ("k", "INT64", [1, 1], bytes(8))], "data-type", id="k of another width"),
        pytest.param([QUERY, ("k", "FP32", [1, 1], bytes(4))], "data-type", id="k a fraction"),
        pytest.param([QUERY, ("k", "INT32", [1, 2], bytes(8))], "shape", id="two k"),
        pytest.param([QUERY, ("k", "INT32", [1, 1], bytes(3))], "", id="k cut off"),
        pytest.param([QUERY, ("with_payload", "BYTES", [1, 1], packed(b"yes"))], "data-type", id="payload as text"),
        pytest.param([QUERY, ("colour", "BYTES", [1, 1], packed(b"red"))], "colour", id="unknown input"),
        pytest.param([QUERY, QUERY], "", id="query twice"),
    ],
)
def test_refused(wire: Wire, tensors: list[tuple[str, str, list[int], bytes]], reason: str) -> None:
    code, details = wire.refusal(message("search", *tensors))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert reason in details


@pytest.mark.parametrize("model", ["search_deep", "search_personal", "recommend"])
def test_no_row_of_any_ensembles_input(wire: Wire, model: str) -> None:
    tensors = [("user", "BYTES", [0, 1], b""), *([] if model == "recommend" else [QUERY])]
    code, _ = wire.refusal(message(model, *tensors))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


@apart
def test_two_queries_given_to_a_step(wire: Wire) -> None:
    code, details = wire.refusal(message("preprocess", ("query", "BYTES", [2, 1], packed(b"x", b"y"))))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "batch-size must be <= 1" in details


def test_unknown_model(wire: Wire) -> None:
    code, _ = wire.refusal(message("serach", QUERY))
    assert code == grpc.StatusCode.NOT_FOUND
