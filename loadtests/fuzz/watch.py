"""Whether the servers are still the same processes while they are attacked, and what they hold."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deploy.embedded import ServerError
from deploy.hybrid.sites import SiteServer
from loadtests.hybrid.cloud import Cloud
from loadtests.hybrid.traffic import RESTRICTED
from loadtests.usage import private_bytes, processes
from shelfbridge.errors import ShelfbridgeError

LOOK_S = 0.05
LOST_S = 60.0
"""A site that is away for so long does not come back."""
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


@dataclass
class Death:
    """Of a site; times in seconds since 1970."""

    site: str
    at: float
    back: float | None = None
    """When all models were ready again."""


class Lives:
    """How often sites that run have died, and how soon their keepers had them back, by looks every `LOOK_S`.

    Raises:
        ShelfbridgeError: one does not run.
    """

    def __init__(self, sites: Sequence[SiteServer]) -> None:
        self.deaths: list[Death] = []
        self._sites, self._pids = sites, {site.name: site.pid for site in sites}
        if dead := [name for name, pid in self._pids.items() if pid is None]:
            raise ShelfbridgeError(f"the {' and the '.join(dead)} site does not run; see its log")

    @property
    def away(self) -> list[Death]:
        """Those who are not back yet."""
        return [death for death in self.deaths if death.back is None]

    @property
    def lost(self) -> bool:
        """Whether one does not come back."""
        return any(time.time() - death.at > LOST_S for death in self.away)

    def wait(self) -> None:
        """Until all are back, or lost."""
        while self.away and not self.lost:
            time.sleep(LOOK_S)

    def look(self) -> None:
        """Note who is away, or back."""
        for site in self._sites:
            state = site.state
            if state is not None and state.pid == self._pids[site.name]:
                continue
            death = next((death for death in self.away if death.site == site.name), None)
            if death is None:
                death = Death(site.name, time.time())
                self.deaths.append(death)
            if state is not None and state.ready:
                death.back, self._pids[site.name] = state.ready, state.pid


class Watched:
    """The processes of a running cloud, from now on."""

    def __init__(self, cloud: Cloud) -> None:
        self._hybrid = cloud.hybrid
        self._seen = self._living()
        self._first = {name: pid for name, (pid, _) in self._seen.items()}
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
        before, now = self._seen, self._living()
        same = {name for name in before.keys() & now.keys() if before[name][0] == now[name][0]}
        ended = {name for name in same if before[name] != now[name]}
        self._seen = now
        self.ended |= ended | ({GATEWAY} - now.keys())
        self._count()
        held = {name: private_bytes(pid) / 1e6 for name, (pid, _) in now.items() if pid == self._first.get(name)}
        self.looks.append({"requests": requests, "seconds": seconds, "memory": held})
        return bool(ended or before.keys() - same)

    def _living(self) -> dict[str, tuple[int, set[tuple[int, float]]]]:
        """The servers that have all their models, and the gateway: the process and all of theirs by id and start."""
        states = {"private": self._hybrid.private.state, "public": self._hybrid.public.state}
        pids = {name: state.pid for name, state in states.items() if state and state.ready}
        gateway = self._hybrid.gateway.pid
        pids |= {GATEWAY: gateway} if gateway else {}
        return {name: (pid, {(each.pid, each.create_time()) for each in processes(pid)}) for name, pid in pids.items()}

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
