"""What a process keeps of its answers: by all that went in, within bounds, and nothing of a failure."""

import numpy as np
import pytest

from shelfbridge.cache import Cache, identity, size

ANSWER = {"scores": np.arange(10, dtype=np.float32)}


def text(value: bytes) -> np.ndarray:
    return np.array([value], dtype=object)


def test_an_answer_is_made_once():
    cache, made = Cache(1), []
    for _ in range(3):
        found = cache.get("shoes", lambda: made.append(1) or ANSWER)
        assert found is ANSWER
    assert made == [1]


def test_zero_megabytes_keep_nothing():
    cache, made = Cache(0), []
    for _ in range(2):
        cache.get("shoes", lambda: made.append(1) or ANSWER)
    assert made == [1, 1]


def test_a_failure_is_not_kept():
    cache = Cache(1)

    def fail():
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            cache.get("shoes", fail)
    assert cache.get("shoes", lambda: ANSWER) is ANSWER


def test_the_least_recently_used_go_first():
    room = 3.5 * size(ANSWER) / (1 << 20)
    cache, made = Cache(room), []
    for key in "abcad":  # a is used again before d needs room
        cache.get(key, lambda key=key: made.append(key) or dict(ANSWER))
    cache.get("a", lambda: made.append("a") or ANSWER)
    cache.get("b", lambda: made.append("b") or ANSWER)
    assert made == ["a", "b", "c", "d", "b"]


REQUEST = {"query": text(b"shoes"), "k": np.array([5], np.int32), "user": text(b"u1")}


@pytest.mark.parametrize(
    "other",
    [
        {**REQUEST, "user": text(b"u2")},
        {**REQUEST, "query": text(b"shoe")},
        {**REQUEST, "k": np.array([6], np.int32)},
        {**REQUEST, "k": np.array([5], np.int64)},
        {name: array for name, array in REQUEST.items() if name != "user"},
        {**REQUEST, "filters": text(b"{}")},
    ],
)
def test_another_user_query_or_option_is_another_request(other):
    assert identity(other) != identity(REQUEST)
    assert identity(dict(reversed(REQUEST.items()))) == identity(REQUEST)


def test_size_counts_the_content_of_strings():
    assert size({"payload": text(b"x" * 1000)}) > 1000
