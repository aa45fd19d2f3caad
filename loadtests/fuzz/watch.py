"""What the servers hold while they are attacked, and whether they are still the same processes."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import psutil

from deploy.embedded import ServerError
from loadtests.hybrid.cloud import Cloud
from loadtests.hybrid.traffic import RESTRICTED
from loadtests.usage import memory, processes

GROWTH_MB = 16.0
"""Private memory that a server may hold more at the end of the attacks than when it had settled: what a few requests of
megabytes leave in the allocators of some ten processes. A leak of a kilobyte a request would be 5 MB in 5,000."""
TELLING = 2000
"""Requests from which on memory tells anything: before them caches and pools fill."""
SETTLED = 0.3
"""Share of the attacks after which it has: caches and pools are full."""
ENDS = 3
"""Looks whose median counts, at either end."""
GATEWAY = "gateway"


class Watched:
    """The processes of a running cloud, from now on."""

    def __init__(self, cloud: Cloud) -> None:
        self._hybrid = cloud.hybrid
        self._pids = self._living()
        self._first = dict(self._pids)
        self._alive = {name: _processes(pid) for name, pid in self._pids.items()}
        self._counted = self._hybrid.public.requests()
        self.looks: list[dict[str, Any]] = []
        """What each server held in private memory, in megabytes, so many requests and seconds after the begin; a server
        that was started anew is left out from then on."""
        self.ended: set[str] = set()
        """Servers that go on, but lost a process or have another in its place; the gateway, if it has ended."""
        self.restricted_outside = 0
        """Restricted requests that the public site has counted."""

    def look(self, requests: int, seconds: float) -> bool:
        """Whether a process has ended since the last look."""
        pids = self._living()
        alive = {name: _processes(pid) for name, pid in pids.items()}
        same = {name for name in pids if pids[name] == self._pids.get(name)}
        ended = {name for name in same if alive[name] != self._alive[name]}
        gone = any(pids.get(name) != pid for name, pid in self._pids.items())
        self._pids, self._alive = pids, alive
        self.ended |= ended | ({GATEWAY} - pids.keys())
        self._count()
        memory = {name: _private(pid) for name, pid in pids.items() if pid == self._first.get(name)}
        self.looks.append({"requests": requests, "seconds": seconds, "memory": memory})
        return bool(ended) or gone

    def _living(self) -> dict[str, int]:
        """The servers that have all their models, and the gateway."""
        private, public, gateway = self._hybrid.private.state, self._hybrid.public.state, self._hybrid.gateway
        pids = {
            "private": private.pid if private and private.ready else None,
            "public": public.pid if public and public.ready else None,
            GATEWAY: gateway.pid,
        }
        return {name: pid for name, pid in pids.items() if pid}

    def _count(self) -> None:
        try:
            counted = self._hybrid.public.requests()
        except ServerError:  # away; started anew, it counts from nothing
            self._counted = {}
            return
        for model in RESTRICTED:
            now, before = counted.get(model, 0), self._counted.get(model, 0)
            self.restricted_outside += now - before if now >= before else now
        self._counted = counted


def _processes(pid: int) -> set[tuple[int, float]]:
    """By id and start: what was started anew differs."""
    return {(each.pid, each.create_time()) for each in processes(pid)}


def _private(pid: int) -> float:
    total = 0
    for process in processes(pid):
        with suppress(psutil.Error, OSError):
            total += memory(process.pid)["Private_Dirty"]
    return total / 1e6


def growth(looks: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Megabytes by which each server grew after it had settled; none of fewer than `TELLING` requests, and those left
    out that were not seen at every look.
    """
    if looks[-1]["requests"] < TELLING:
        return {}
    settled = looks[int(SETTLED * len(looks)) :]
    always = [name for name in looks[0]["memory"] if all(name in look["memory"] for look in looks)]
    return {
        name: float(
            np.median([one["memory"][name] for one in settled[-ENDS:]])
            - np.median([one["memory"][name] for one in settled[:ENDS]])
        )
        for name in always
    }
