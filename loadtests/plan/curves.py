"""Measured latency over load of one instance of each site, as `python -m loadtests.hybrid curves` writes it."""

from bisect import bisect
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shelfbridge.errors import DataError
from shelfbridge.request import explain


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Kind(_Record):
    """One kind of request at one load; quantiles at equal steps from 0 to 1, in milliseconds."""

    service_ms: list[float] = Field(min_length=2)
    """For which it occupies a process of its model."""
    other_ms: list[float] = Field(min_length=2)
    """In the client and the gateway."""
    way_ms: list[float] = Field(min_length=2)
    """From the gateway to the site and back."""


class Point(_Record):
    """One load."""

    rate: float = Field(gt=0)
    """Answers a second of one instance."""
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
        return [_between(getattr(a, part), getattr(b, part), share) for part in ("service_ms", "other_ms", "way_ms")]

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
        try:
            found = cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}; measure it with python -m loadtests.hybrid curves") from error
        except ValidationError as error:
            raise DataError(f"{path}: {explain(error)}; measure it with python -m loadtests.hybrid curves") from error
        for site, kinds in (("private", set(found.mix)), ("public", set(found.mix) - set(found.restricted))):
            for point in found.sites[site].points if site in found.sites else ():
                if missing := kinds - point.kinds.keys():
                    raise DataError(
                        f"{path}: {site}, {point.rate:.0f} a second: nothing of {', '.join(sorted(missing))}"
                    )
        if missing_sites := {"private", "public"} - found.sites.keys():
            raise DataError(f"{path}: nothing of the {', '.join(sorted(missing_sites))} site; measure both")
        return found

    def shares(self, restricted: float | None) -> Mapping[str, float]:
        """The mix, with another share of what must stay private where one is given."""
        usual = sum(share for kind, share in self.mix.items() if kind in self.restricted)
        if restricted is None or not 0 < usual < 1:
            return self.mix
        factor = {True: restricted / usual, False: (1 - restricted) / (1 - usual)}
        return {kind: share * factor[kind in self.restricted] for kind, share in self.mix.items()}


def _between(low: list[float], high: list[float], share: float) -> NDArray[np.float64]:
    mixed: NDArray[np.float64] = (1 - share) * np.asarray(low) + share * np.asarray(high)
    return mixed
