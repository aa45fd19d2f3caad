"""What a run came to, from its requests."""

import datetime
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from loadtests.hybrid.faults import Failure
from loadtests.hybrid.joined import SITES, Answer
from loadtests.hybrid.latencies import Latencies, encode, joined, ms, summary
from loadtests.hybrid.scenarios import WARM_UP, Scenario
from loadtests.hybrid.traffic import RESTRICTED

FLOOR = 1.0
"""Percentile of the time beyond the gateway that counts as the way there alone: hardly anybody waited."""
_REQUEST = re.compile(r" \(request [^)]*\)")
"""What would make each error's message another."""
Key = tuple[str, str, str]
"""Kind, site, phase."""


@dataclass(frozen=True)
class Seen:
    """What is known beside the requests."""

    start: float
    scenario: Scenario
    failure: Failure | None

    def phase(self, time: float) -> str:
        """The phase of a moment; a failure has its own: `down` until the site is ready again, and `after`."""
        stage = self.scenario.at(max(0.0, time - self.start))
        if stage is None:  # sent as it ended
            stage = self.scenario.stages[-1].name, 0.0
        if self.failure is None or stage[0] == WARM_UP or not 0 < self.failure.begun <= time:
            return stage[0]
        return "after" if 0 < self.failure.ready <= time else "down"


@dataclass
class _Sums:
    """What is added up, request by request."""

    answered: Latencies[Key] = field(default_factory=Latencies)
    failed: Counter[Key] = field(default_factory=Counter)
    errors: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    parts: Latencies[tuple[str, str, str]] = field(default_factory=Latencies)
    kinds: Counter[str] = field(default_factory=Counter)
    seconds: dict[int, list[Answer]] = field(default_factory=lambda: defaultdict(list))

    def add(self, answer: Answer, phase: str) -> None:
        row = answer.row
        key = (row.kind, answer.site, phase)
        self.kinds[row.kind] += 1
        if row.error:
            self.failed[key] += 1
            self.errors[row.kind, phase, row.error, _REQUEST.sub("", row.words)] += 1
        else:
            self.answered.add(key, row.ms)
        for part, taken in answer.parts.items():
            self.parts.add((row.kind, answer.site, part), taken)


def measured(answers: Iterable[Answer], seen: Seen) -> dict[str, Any]:
    """The part of the record that is measured. Percentiles are of what was answered; times in milliseconds."""
    sums, warm = _Sums(), 0
    for answer in answers:
        phase = seen.phase(answer.row.time)
        sums.seconds[int(answer.row.time - seen.start)].append(answer)
        if phase == WARM_UP:
            warm += 1
        else:
            sums.add(answer, phase)
    counted = sum(sums.kinds.values())
    seconds = sum(stage.seconds for stage in seen.scenario.stages if stage.name != WARM_UP)
    groups = dict(sums.answered.items())
    keys = list(dict.fromkeys([*groups, *sums.failed]))
    return {
        "seconds": seconds,
        "requests": counted,
        "warm_up": warm,
        "rate": counted / seconds,
        "mix": {kind: count / counted for kind, count in sorted(sums.kinds.items())},
        "latency": _latency(groups),
        "groups": [_group(key, groups.get(key), sums.failed[key]) for key in keys],
        "errors": [
            {"kind": kind, "phase": phase, "error": error, "words": words, "count": count}
            for (kind, phase, error, words), count in sums.errors.most_common(20)
        ],
        "failed": {
            "restricted": sum(count for key, count in sums.failed.items() if key[0] in RESTRICTED),
            "unrestricted": sum(count for key, count in sums.failed.items() if key[0] not in RESTRICTED),
        },
        "burst_share": _share(groups),
        "where": _where(sums.parts),
        "timeline": [_second(at, sums.seconds[at]) for at in sorted(sums.seconds)],
        "failover": _failover(sums.seconds, seen) if seen.failure else None,
    }


def _latency(groups: Mapping[Key, Any]) -> dict[str, Any]:
    kinds = sorted({key[0] for key in groups})
    by_kind = {kind: summary(joined(each for key, each in groups.items() if key[0] == kind)) for kind in kinds}
    return {"all": summary(joined(groups.values())), **by_kind}


def _group(key: Key, histogram: Any, failed: int) -> dict[str, Any]:
    kind, site, phase = key
    about: dict[str, Any] = {"kind": kind, "site": site, "phase": phase, "failed": failed}
    return about if histogram is None else {**about, **summary(histogram), "histogram": encode(histogram)}


def _share(groups: Mapping[Key, Any]) -> float:
    """The public site's share of what may burst and was answered."""
    by_site = {
        site: sum(each.total_count for key, each in groups.items() if key[1] == site and key[0] not in RESTRICTED)
        for site in SITES
    }
    return float(by_site["public"] / max(1, sum(by_site.values())))


def _where(parts: Latencies[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Milliseconds by kind, site and part. What lies beyond the gateway is the way there, its floor, and the rest."""
    found = []
    for (kind, site, part), histogram in parts.items():
        at = {name: ms(histogram, percentile) for name, percentile in (("p50", 50.0), ("p99", 99.0))}
        about = {"kind": kind, "site": site}
        if part != "beyond":
            found.append({**about, "part": part, **at})
            continue
        floor = ms(histogram, FLOOR)
        found.append({**about, "part": "network", "p50": floor, "p99": floor})
        found.append({**about, "part": "queue", **{name: max(0.0, value - floor) for name, value in at.items()}})
    return found


def _second(at: int, answers: list[Answer]) -> dict[str, Any]:
    """One second, by when the requests were sent."""
    took = [answer.row.ms for answer in answers if not answer.row.error]
    p50, p99 = np.percentile(took, (50, 99)).tolist() if took else (None, None)
    sites = Counter(answer.site for answer in answers)
    failed = Counter(answer.restricted for answer in answers if answer.row.error)
    return {
        "second": at,
        "requests": len(answers),
        "p50": p50,
        "p99": p99,
        "public": sites["public"],
        "failed_unrestricted": failed[False],
        "failed_restricted": failed[True],
    }


def _failover(seconds: Mapping[int, list[Answer]], seen: Seen) -> dict[str, Any]:
    """What callers saw of a site's failure.

    `worst_ms`: the longest of the unrestricted requests that were under way when it came, or were sent before the site
    was ready again; `worst_before_ms`: the longest of those before. `failback_s`: from the moment the site was
    ready until it answered a request.
    """
    failure = seen.failure
    assert failure is not None
    free = [a.row for second in seconds.values() for a in second if not a.restricted and not a.row.error]
    hit = [row.ms for row in free if row.time < failure.ready and row.time + row.ms / 1000 >= failure.begun]
    before = [row.ms for row in free if row.time + row.ms / 1000 < failure.begun and seen.phase(row.time) != WARM_UP]
    back = [
        answer.row.time + answer.row.ms / 1000
        for second in seconds.values()
        for answer in second
        if answer.site == failure.site and not answer.row.error and answer.row.time >= failure.ready
    ]
    answered = min(back, default=None)
    return {
        "worst_ms": max(hit, default=None),
        "worst_before_ms": max(before, default=None),
        "failback_s": None if answered is None else answered - failure.ready,
        "down_s": failure.ready - failure.begun,
        "began": datetime.datetime.fromtimestamp(failure.begun, datetime.UTC).isoformat(),
    }
