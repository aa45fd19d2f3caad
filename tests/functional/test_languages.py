"""Every script is searched in, and what a product's words do not hold is answered too."""

import pytest

from tests.functional.wire import Wire


@pytest.mark.parametrize(
    ("query", "first"),
    [
        pytest.param("红色 跑步鞋", "cn-1", id="Chinese"),
        pytest.param("حذاء أحمر", "ar-1", id="right to left"),
        pytest.param(
            "ＲＥＤ　ｒｕｎｎｉｎｇ　ｓｈｏｅｓ　４　ｃｏｒｖｏ", "corvo-red-running-shoes-4", id="full width"
        ),
        pytest.param("red\u200b running\tshoes 4 corvo", "corvo-red-running-shoes-4", id="invisible characters"),
    ],
)
def test_found(wire: Wire, query: str, first: str) -> None:
    assert wire.search(query, k=1).ids == [first]


@pytest.mark.parametrize("query", ["🙂", "👩‍👩‍👧", "x" * 512, "日" * 512, "?!", "\u202ered shoes"])
def test_answered(wire: Wire, query: str) -> None:
    assert len(wire.search(query).ids) == 10
