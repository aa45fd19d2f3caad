"""Latencies by what they belong to, as histograms: those of many workers and runs add up, as percentiles do not."""

from collections.abc import Hashable, Iterator
from typing import Any, Generic, TypeVar

from hdrh.histogram import HdrHistogram

Key = TypeVar("Key", bound=Hashable)
LOWEST_US, HIGHEST_US, DIGITS = 1, 120_000_000, 3
PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}


class Latencies(Generic[Key]):
    """HDR histograms (Gil Tene) of microseconds, each value exact to three digits."""

    def __init__(self) -> None:
        self._held: dict[Key, Any] = {}

    def add(self, key: Key, ms: float) -> None:
        """Count one."""
        if key not in self._held:
            self._held[key] = empty()
        self._held[key].record_value(min(HIGHEST_US, max(LOWEST_US, round(1000 * ms))))

    def items(self) -> Iterator[tuple[Key, Any]]:
        """Keys in the order in which they came, with their histograms."""
        yield from self._held.items()

    def all(self) -> Any:
        """All in one."""
        return joined(self._held.values())


def empty() -> Any:
    """A histogram without values."""
    return HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)


def joined(histograms: Any) -> Any:
    """The sum of histograms."""
    total = empty()
    for histogram in histograms:
        total.add(histogram)
    return total


def encode(histogram: Any) -> str:
    """As text, in HdrHistogram's own compressed form."""
    return str(histogram.encode().decode())


def decode(text: str) -> Any:
    """The histogram of a text."""
    return HdrHistogram.decode(text.encode())


def ms(histogram: Any, percentile: float) -> float:
    """Milliseconds below which so many percent lie; 0 where there are no values."""
    return float(histogram.get_value_at_percentile(percentile)) / 1000 if histogram.total_count else 0.0


def summary(histogram: Any) -> dict[str, float]:
    """Count, percentiles and the longest, in milliseconds."""
    found = {name: ms(histogram, percentile) for name, percentile in PERCENTILES.items()}
    return {"count": histogram.total_count, **found, "max": ms(histogram, 100.0)}
