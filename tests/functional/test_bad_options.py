"""Impossible k, filters and users are refused with the cause and the cure, and nobody else notices."""

import grpc
import pytest

from tests.functional.wire import Wire, query_message

pytestmark = pytest.mark.usefixtures("unharmed")
KNOWN = "known fields: category, brand, price_min, price_max, in_stock"


@pytest.mark.parametrize("k", [0, -1, 101, 10**9, -(2**31)])
def test_k_out_of_range(wire: Wire, k: int) -> None:
    code, message = wire.refusal(query_message("red shoes", k=k))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message.endswith(f"k is {k}; ask for 1 to 100 products")


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        pytest.param('{"colour": "red"}', f"colour: Extra inputs are not permitted; {KNOWN}", id="unknown field"),
        pytest.param('{"price_min": NaN}', KNOWN, id="NaN"),
        pytest.param('{"price_max": Infinity}', KNOWN, id="Infinity"),
        pytest.param('{"price_max": 1e999}', KNOWN, id="too large for a number"),
        pytest.param('{"price_min": -1}', "greater than or equal to 0", id="negative"),
        pytest.param('{"price_min": 9, "price_max": 1}', "price_min is above price_max", id="crossed"),
        pytest.param('{"price_min": "9"}', "valid number", id="wrong type"),
        pytest.param('{"in_stock": 1}', "valid boolean", id="number for a boolean"),
        pytest.param("[1, 2]", KNOWN, id="not an object"),
        pytest.param("{", "Invalid JSON", id="not JSON"),
        pytest.param("[" * 4000, "Invalid JSON", id="deeply nested"),
        pytest.param('{"brand": "' + "x" * 5000 + '"}', "filters are 5013 bytes long; send at most 4096", id="long"),
    ],
)
def test_filters_that_cannot_be_used(wire: Wire, filters: str, reason: str) -> None:
    code, message = wire.refusal(query_message("red shoes", filters=filters))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert reason in message


def test_user_too_long(wire: Wire) -> None:
    code, message = wire.refusal(query_message("red shoes", user=b"u" * 257))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message.endswith("user is 257 bytes long; send at most 256")


def test_user_not_utf8(wire: Wire) -> None:
    code, message = wire.refusal(query_message("red shoes", user=b"\xc3"))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message.endswith("user is not UTF-8 (byte 0); encode it as UTF-8")
