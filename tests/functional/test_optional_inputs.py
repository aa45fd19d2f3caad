"""Everything but the query may be left out of a search, alone or together."""

import json
from itertools import product
from typing import Any

import pytest

from tests.functional.wire import Wire

OPTIONS: dict[str, Any] = {
    "k": 3,
    "filters": '{"category": "running shoes", "in_stock": true}',
    "user": b"u1",
    "with_payload": True,
}


@pytest.mark.parametrize("model", ["search", "search_deep"])
@pytest.mark.parametrize("given", list(product([False, True], repeat=len(OPTIONS))))
def test_any_of_them(wire: Wire, model: str, given: tuple[bool, ...]) -> None:
    options = {name: value for (name, value), sent in zip(OPTIONS.items(), given, strict=True) if sent}
    found = wire.search("red running shoes", model=model, **options)
    assert len(found.ids) == len(found.scores) == options.get("k", 10)
    assert found.scores == sorted(found.scores, reverse=True)
    assert len(found.payload) == (len(found.ids) if "with_payload" in options else 0)
    if "filters" in options:
        assert all("running-shoes" in name and not name.endswith(("-0", "-3")) for name in found.ids)


def test_payload_is_that_of_the_product(wire: Wire) -> None:
    found = wire.search("red running shoes 4 corvo", k=1, with_payload=True)
    assert found.ids == ["corvo-red-running-shoes-4"]
    assert json.loads(found.payload[0])["title"] == "red running shoes 4"


def test_filters_that_nothing_passes(wire: Wire) -> None:
    found = wire.search("red running shoes", filters='{"brand": "nobody"}', with_payload=True)
    assert (found.ids, found.scores, found.payload) == ([], [], [])
