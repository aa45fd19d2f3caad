"""Measured latency over load of one instance of each site, as `python -m loadtests.hybrid curves` writes it."""

from bisect import bisect
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from loadtests.hybrid.traffic import reshared
from loadtests.program import read_model
from shelfbridge.errors import DataError


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Kind(_Record):
    """One kind of request at one load; quantiles at equal steps from 0 to 1, in milliseconds.

    service_ms: for which it occupies a process of its model. other_ms: in the client and the gateway. way_ms: from the
    gateway to the site and back.
    """

    service_ms: list[float] = Field(min_length=2)
    other_ms: list[float] = Field(min_length=2)
    way_ms: list[float] = Field(min_length=2)


class Point(_Record):
    """One load: answers a second of one instance."""

    rate: float = Field(gt=0)
    kinds: dict[str, Kind] = Field(min_length=1)


class Curve(_Record):
    """One site."""

    processes: int = Field(ge=1)
    """Requests of a kind that an instance answers at a time."""
    points: list[Point] = Field(min_length=1)
    slowdown: list[float] = Field(default=[1.0], min_length=1)
    """Factor of service times by the number of others in flight, which the points' do without."""

    @property
    def highest(self) -> float:
        """The highest load that was measured: nothing is said about what lies beyond."""
        return self._rates[-1]

    def kind(self, name: str, rate: float) -> list[NDArray[np.float64]]:
        """Quantiles of `service_ms`, `other_ms` and `way_ms` at a load: linear between the two nearest points."""
        place = bisect(self._rates, rate)
        low, high = self._points[max(0, place - 1)], self._points[min(place, len(self._points) - 1)]
        share = 0.0 if low is high else (rate - low.rate) / (high.rate - low.rate)
        a, b = low.kinds[name], high.kinds[name]
        return [
            (1 - share) * np.asarray(getattr(a, part)) + share * np.asarray(getattr(b, part))
            for part in ("service_ms", "other_ms", "way_ms")
        ]

    @cached_property
    def _points(self) -> list[Point]:
        return sorted(self.points, key=lambda point: point.rate)

    @cached_property
    def _rates(self) -> list[float]:
        return [point.rate for point in self._points]


class Curves(_Record):
    """Both sites, and the mix they were measured with."""

    bytes_per_answer: float = Field(ge=0)
    mix: dict[str, float] = Field(min_length=1)
    restricted: list[str]
    sites: dict[str, Curve]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            DataError: it cannot be read, or holds other things.
        """
        cure = "measure it with python -m loadtests.hybrid curves"
        found = read_model(cls, path, DataError, cure)
        if missing := {"private", "public"} - found.sites.keys():
            raise DataError(f"{path}: nothing of the {', '.join(sorted(missing))} site; {cure}")
        for site, kinds in (("private", found.mix.keys()), ("public", found.mix.keys() - found.restricted)):
            for point in found.sites[site].points:
                if missing := kinds - point.kinds.keys():
                    raise DataError(
                        f"{path}: {site}, {point.rate:.0f} a second: nothing of {', '.join(sorted(missing))}; {cure}"
                    )
        return found

    def shares(self, restricted: float | None) -> Mapping[str, float]:
        """The mix, with another share of what must stay private where one is given."""
        usual = sum(share for kind, share in self.mix.items() if kind in self.restricted)
        if restricted is None or not 0 < usual < 1:
            return self.mix
        return reshared(self.mix, self.restricted, restricted)
