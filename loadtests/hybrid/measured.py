"""What a run came to, from its requests, and whether it kept what is promised."""

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from loadtests.hybrid.answers import OUTSIDE, SITES
from loadtests.hybrid.faults import Failure
from loadtests.hybrid.scenarios import WARM_UP, Scenario
from loadtests.hybrid.traffic import RESTRICTED
from loadtests.slo import Slo

PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}
TAIL = tuple((100 * (1 - 10 ** -np.linspace(0, 4, 81))).tolist())
"""Percentiles from 0 to 99.99, as far from each other in nines."""
FLOOR = 1.0
"""Percentile of the time beyond the gateway that counts as the way there alone: hardly anybody waited."""


def percentile(ms: ArrayLike, percent: float) -> float | None:
    """Return the shortest time that so many percent do not exceed; None of none."""
    known = np.asarray(ms, float)
    return float(np.percentile(known, percent, method="inverted_cdf")) if known.size else None


def latency(ms: ArrayLike) -> dict[str, Any]:
    """Return count, percentiles and the longest of some times, in milliseconds."""
    found = {name: percentile(ms, percent) for name, percent in PERCENTILES.items()}
    return {"count": np.size(ms), **found, "max": percentile(ms, 100.0)}


def phase(time: float, start: float, scenario: Scenario, failure: Failure | None) -> str:
    """Return the phase of a moment; a failure has its own: `down` until the site is ready again, and `after`."""
    stage = scenario.phase(max(0.0, time - start))
    if failure is None or stage == WARM_UP or not 0 < failure.begun <= time:
        return stage
    return "after" if 0 < failure.ready <= time else "down"


def measured(answers: pd.DataFrame, start: float, scenario: Scenario, failure: Failure | None) -> dict[str, Any]:
    """Return the part of the record that is measured. Percentiles are of what was answered; times in milliseconds.

    Args:
        answers: of `answers.join`.
        start: when the load began, in seconds since 1970.
        scenario: that was run.
        failure: of a site.
    """
    answers = answers.assign(phase=[phase(time, start, scenario, failure) for time in answers.time])
    counted = answers[answers.phase != WARM_UP]
    done, failed = counted[counted.error == ""], counted[counted.error != ""]
    seconds = sum(stage.seconds for stage in scenario.stages if stage.name != WARM_UP)
    free = done[~done.restricted & done.site.isin(SITES)]
    errors = failed.groupby(["kind", "phase", "error", "words"], sort=False).size()
    return {
        "seconds": seconds,
        "requests": len(counted),
        "warm_up": len(answers) - len(counted),
        "rate": len(counted) / seconds,
        "mix": counted.kind.value_counts(normalize=True).sort_index().to_dict(),
        "latency": {"all": latency(done.ms), **{kind: latency(group.ms) for kind, group in done.groupby("kind")}},
        "groups": [
            {"kind": kind, "site": site, "phase": of, "failed": int((group.error != "").sum())}
            | latency(group.ms[group.error == ""])
            for (kind, site, of), group in counted.groupby(["kind", "site", "phase"], sort=False)
        ],
        "tail": {
            name: {"count": len(ms), "ms": [percentile(ms, percent) for percent in TAIL]}
            for name, ms in {"all": done.ms, **dict(iter(done.groupby("site", sort=False).ms))}.items()
        },
        "errors": errors.nlargest(20).rename("count").reset_index().to_dict("records"),
        "failed": {
            "restricted": int(failed.restricted.sum()),
            "unrestricted": int((~failed.restricted).sum()),
        },
        "burst_share": float((free.site == "public").sum() / max(1, len(free))),
        "where": [
            {"kind": kind, "site": site, **part}
            for (kind, site), group in done[done.client.notna()].groupby(["kind", "site"], sort=False)
            for part in _where(group)
        ],
        "timeline": [
            _second(int(at), group) for at, group in answers.groupby((answers.time - start).astype(float).astype(int))
        ],
        "failover": _failover(answers, failure) if failure else None,
    }


def _where(group: pd.DataFrame) -> list[dict[str, Any]]:
    """Milliseconds by part. What lies beyond the gateway is the way there, its floor, and the rest."""
    parts = {**{name: group[name] for name in OUTSIDE}, **pd.DataFrame(group.steps.to_list())}
    beyond = parts.pop("beyond")
    floor = percentile(beyond, FLOOR)
    queue = (beyond - floor).clip(lower=0)
    parts = {
        "client": parts.pop("client"),
        "gateway": parts.pop("gateway"),
        "network": [floor],
        "queue": queue,
        **parts,
    }
    return [
        {"part": part, "p50": percentile(known, 50.0), "p99": percentile(known, 99.0)}
        for part, taken in parts.items()
        if len(known := pd.Series(taken).dropna())
    ]


def _second(at: int, answers: pd.DataFrame) -> dict[str, Any]:
    """One second, by when the requests were sent."""
    failed = answers[answers.error != ""]
    took = answers.ms[answers.error == ""]
    return {
        "second": at,
        "requests": len(answers),
        "p50": percentile(took, 50.0),
        "p99": percentile(took, 99.0),
        "public": int((answers.site == "public").sum()),
        "failed_unrestricted": int((~failed.restricted).sum()),
        "failed_restricted": int(failed.restricted.sum()),
    }


def _failover(answers: pd.DataFrame, failure: Failure) -> dict[str, Any]:
    """What callers saw of a site's failure.

    `worst_ms`: the longest of the unrestricted requests that were under way when it came, or were sent before the site
    was ready again; `worst_before_ms`: the longest of those before. `failback_s`: from the moment the site was
    ready until it answered a request.
    """
    done = answers[answers.error == ""].assign(ended=lambda rows: rows.time + rows.ms / 1000)
    free = done[~done.restricted]
    hit = free[(free.time < failure.ready) & (free.ended >= failure.begun)]
    before = free[(free.ended < failure.begun) & (free.phase != WARM_UP)]
    back = done.ended[(done.site == failure.site) & (done.time >= failure.ready)]
    return {
        "worst_ms": percentile(hit.ms, 100.0),
        "worst_before_ms": percentile(before.ms, 100.0),
        "failback_s": float(back.min()) - failure.ready if len(back) else None,
        "down_s": failure.ready - failure.begun,
        "began": datetime.datetime.fromtimestamp(failure.begun, datetime.UTC).isoformat(),
    }


def verdict(record: Mapping[str, Any], promises: Iterable[Slo]) -> dict[str, Any]:
    """Return the record's `verdict`: every promise with what was found, and whether all were kept.

    Whatever is asked for, nothing restricted may be counted at the public site and no unrestricted request may fail.
    """
    outside = sum(record["counted"]["public"].get(kind, 0) for kind in RESTRICTED)
    held: list[tuple[str, float, float | None]] = [
        (f"{one.percentile} of {one.kind}, ms", one.ms, record["latency"].get(one.kind, {}).get(one.percentile))
        for one in promises
    ]
    held.append(("restricted requests at the public site, by its own counters", 0, outside))
    held.append(("unrestricted requests that failed", 0, record["failed"]["unrestricted"]))
    rows = [
        {"what": what, "limit": limit, "found": found, "kept": found is not None and found <= limit}
        for what, limit, found in held
    ]
    return {"kept": all(row["kept"] for row in rows), "rows": rows}
