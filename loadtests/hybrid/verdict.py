"""Whether a run kept what is promised: latency, and that nothing restricted left the private site."""

from collections.abc import Iterable, Mapping
from typing import Any

from loadtests.hybrid.traffic import RESTRICTED
from loadtests.slo import Slo


def verdict(record: Mapping[str, Any], promises: Iterable[Slo]) -> dict[str, Any]:
    """The record's `verdict`: every promise with what was found, and whether all were kept.

    Whatever is asked for, nothing restricted may be counted at the public site and no unrestricted request may fail.
    """
    rows = [_latency(record, promise) for promise in promises]
    outside = sum(record["counted"]["public"].get(kind, 0) for kind in RESTRICTED)
    rows.append(_row("restricted requests at the public site, by its own counters", 0, outside, outside == 0))
    failed = record["failed"]["unrestricted"]
    rows.append(_row("unrestricted requests that failed", 0, failed, failed == 0))
    return {"kept": all(row["kept"] for row in rows), "rows": rows}


def _latency(record: Mapping[str, Any], promise: Slo) -> dict[str, Any]:
    found = record["latency"].get(promise.kind)
    value = found[promise.percentile] if found else None
    what = f"{promise.percentile} of {promise.kind}, ms"
    return _row(what, promise.ms, value, value is not None and value <= promise.ms)


def _row(what: str, limit: float, found: float | None, kept: bool) -> dict[str, Any]:
    return {"what": what, "limit": limit, "found": found, "kept": kept}
