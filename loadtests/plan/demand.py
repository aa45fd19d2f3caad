"""What shoppers will ask for, hour by hour."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfbridge.errors import DataError

FIELDS = ("hour", "rate", "peak", "restricted")


@dataclass(frozen=True)
class Hour:
    """One hour."""

    name: str
    rate: float
    """Requests a second, on average."""
    peak: float
    """The highest rate in it, which may come within seconds, as a flash sale's does."""
    restricted: float | None = None
    """Share of requests that must stay private; None is that of the measured mix."""


def read(path: Path) -> list[Hour]:
    """Read a CSV file: `hour`, `rate`, and where wanted `peak` and `restricted`.

    Raises:
        DataError: the file cannot be read, or a row cannot be used; the message names it.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            unknown = set(rows.fieldnames or ()) - set(FIELDS)
            if unknown or not {"hour", "rate"} <= set(rows.fieldnames or ()):
                raise DataError(
                    f"{path}: has the columns {rows.fieldnames}; give hour, rate, and if wanted peak, restricted"
                )
            hours = [_hour(f"{path}, row {number}", row) for number, row in enumerate(rows, 2)]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}; give a CSV file, such as loadtests/plan/example/demand.csv") from error
    if not hours:
        raise DataError(f"{path}: has no hour; give a row for each")
    return hours


def _hour(where: str, row: Mapping[str, Any]) -> Hour:
    rate = _number(where, row, "rate")
    peak = _number(where, row, "peak") if row.get("peak") else rate
    restricted = _number(where, row, "restricted") if row.get("restricted") else None
    if rate <= 0:
        raise DataError(f"{where}: rate is {rate:g}; give requests a second, more than 0")
    if peak < rate:
        raise DataError(f"{where}: peak is {peak:g}, below the rate of {rate:g}; it is the highest rate of the hour")
    if restricted is not None and not 0 <= restricted <= 1:
        raise DataError(f"{where}: restricted is {restricted:g}; it is a share, 0 to 1")
    return Hour(str(row["hour"]), rate, peak, restricted)


def _number(where: str, row: Mapping[str, Any], name: str) -> float:
    try:
        value = float(row[name])
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {name} is {row[name]!r}, which is no number")
    return value
