"""A discrete-event simulation (SimPy) of both sites and the gateway before them.

Requests arrive as a Poisson process. As in a Triton, every kind of request has a queue of its own at each instance,
first come, first served, and as many servers as an instance has processes. That kinds share its cores is in the service
times: they grow with the load, and with the number of others that a request meets (`contention`). As in the gateway, an
unrestricted request goes to the private site if fewer than `burst_above` of them are in flight there, else to the
public one; what is restricted always stays private. Of several instances the less loaded of two random ones is taken
(Envoy's LEAST_REQUEST): only one instance a site was measured.
"""

import math
import random
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import simpy

from loadtests.hybrid.scenarios import Stage, at
from loadtests.plan.curves import Curve, Curves
from loadtests.plan.fleet import Fleet

CAPACITY = 64
"""Requests in flight that the gateway lets an instance have of either sort; one more is refused."""
MEMORY_S = 1.0
"""Time over which an instance's load is averaged."""
LEVELS = 32
"""Loads for which service times are held ready."""
REFUSED = 0.02
"""Share of requests refused at which a simulation ends early: that fleet will not do."""


@dataclass
class Outcome:
    """What became of the requests.

    arrived: seconds after the begin, of those that were answered [N]; kinds: theirs [N]; took: milliseconds [N].
    public: of the `unrestricted` requests, those that went to the public site.
    """

    arrived: list[float] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    public: int = 0
    unrestricted: int = 0
    refused: int = 0

    @property
    def burst_share(self) -> float:
        """Share of the unrestricted requests that went to the public site."""
        return self.public / max(1, self.unrestricted)

    def of(self, kind: str) -> pd.Series:
        """Return the milliseconds of all requests or of a kind, by their arrival."""
        took = pd.Series(self.took, self.arrived, dtype=float)
        return took if kind == "all" else took[np.array(self.kinds) == kind]

    def percentile(
        self, percent: float, kind: str = "all", *, begin: float = 0.0, end: float = math.inf, answered: bool = False
    ) -> float:
        """Of all requests or of a kind, that arrived between two times; infinite where any was refused, unless only the
        `answered` ones are asked for, or where there were none.
        """
        took = self.of(kind)
        took = took[(took.index >= begin) & (took.index < end)]
        return math.inf if (self.refused and not answered) or took.empty else float(np.percentile(took, percent))

    def over_time(self, percent: float, seconds: float, kind: str = "all") -> pd.Series:
        """Return a percentile of each span of time, in milliseconds, by its begin in seconds."""
        took = self.of(kind)
        return took.groupby(took.index // seconds * seconds).quantile(percent / 100)


class _Times:
    """Service, other and way times of a site, drawn by kind and load."""

    def __init__(self, curve: Curve, kinds: Sequence[str], chance: random.Random) -> None:
        self._step = curve.highest / (LEVELS - 1)
        self._chance = chance
        self._held = {
            kind: [[part.tolist() for part in curve.kind(kind, level * self._step)] for level in range(LEVELS)]
            for kind in kinds
        }

    def draw(self, kind: str, load: float) -> tuple[float, float, float]:
        """Seconds that a process is occupied, that pass elsewhere, and on the way."""
        service, other, way = self._held[kind][min(LEVELS - 1, int(load / self._step))]
        return self._of(service), self._of(other), self._of(way)

    def _of(self, quantiles: list[float]) -> float:
        place = self._chance.random() * (len(quantiles) - 1)
        low = int(place)
        return (quantiles[low] + (place - low) * (quantiles[low + 1] - quantiles[low])) / 1000


class _Instance:
    def __init__(self, environment: simpy.Environment, kinds: Sequence[str], processes: int) -> None:
        self.queues = {kind: simpy.Resource(environment, processes) for kind in kinds}
        self.in_flight = 0
        self._load = self._last = 0.0

    def load(self, now: float) -> float:
        """Requests a second lately, this one included."""
        self._load = self._load * math.exp((self._last - now) / MEMORY_S) + 1 / MEMORY_S
        self._last = now
        return self._load


class _Cloud:
    def __init__(self, curves: Curves, fleet: Fleet, kinds: Sequence[str], chance: random.Random) -> None:
        self.environment = simpy.Environment()
        self._curves, self._fleet, self._chance = curves, fleet, chance
        free = [kind for kind in kinds if kind not in curves.restricted]
        self._kinds = {"private": kinds, "public": free}
        self._times = {site: _Times(curves.sites[site], of, chance) for site, of in self._kinds.items()}
        self.instances = {"private": self._made("private", fleet.private), "public": self._made("public", fleet.public)}
        self.free_in_flight = 0
        self.outcome = Outcome()
        if fleet.arriving:
            self.environment.process(self._arrive())

    def _made(self, site: str, count: int) -> list[_Instance]:
        processes = self._curves.sites[site].processes
        return [_Instance(self.environment, self._kinds[site], processes) for _ in range(count)]

    def _arrive(self) -> Generator[Any, None, None]:
        yield self.environment.timeout(self._fleet.arriving_at)
        self.instances["public"] += self._made("public", self._fleet.arriving)

    def open(
        self, stages: tuple[Stage, ...], shares: Mapping[str, float], warm_up: float, allowed: float
    ) -> Generator[Any, None, None]:
        """Let requests in, as a Poisson process whose rate changes: thinning (Lewis and Shedler, 1979)."""
        environment, chance = self.environment, self._chance
        highest = max(max(stage.begin, stage.end) for stage in stages)
        kinds, weights = list(shares), list(shares.values())
        while True:
            yield environment.timeout(chance.expovariate(highest))
            now = at(stages, environment.now)
            if now is None or self.outcome.refused > allowed:
                return
            if chance.random() * highest <= now[1]:
                kind = chance.choices(kinds, weights)[0]
                environment.process(self.ask(kind, environment.now >= warm_up))

    def ask(self, kind: str, counted: bool) -> Generator[Any, Any, None]:
        """One request."""
        free, outcome, environment = kind not in self._curves.restricted, self.outcome, self.environment
        bursts = free and self.free_in_flight >= self._fleet.burst_above and bool(self.instances["public"])
        site = "public" if bursts else "private"
        instance = self._pick(self.instances[site])
        if counted:
            outcome.unrestricted += free
            outcome.public += bursts
        if instance is None or instance.in_flight >= CAPACITY:
            outcome.refused += counted
            return
        begun = environment.now
        service, other, way = self._times[site].draw(kind, instance.load(begun))
        slowdown = self._curves.sites[site].slowdown
        service *= slowdown[min(instance.in_flight, len(slowdown) - 1)]
        instance.in_flight += 1
        held = free and not bursts
        self.free_in_flight += held
        yield environment.timeout(way / 2)
        with instance.queues[kind].request() as turn:
            yield turn
            yield environment.timeout(service)
        yield environment.timeout(way / 2)
        instance.in_flight -= 1
        self.free_in_flight -= held
        if counted:
            outcome.arrived.append(begun)
            outcome.kinds.append(kind)
            outcome.took.append(1000 * (environment.now - begun + other))

    def _pick(self, instances: Sequence[_Instance]) -> _Instance | None:
        if len(instances) < 2:
            return instances[0] if instances else None
        one, two = self._chance.sample(instances, 2)
        return one if one.in_flight <= two.in_flight else two


def simulate(
    curves: Curves,
    fleet: Fleet,
    stages: Sequence[Stage],
    *,
    restricted: float | None = None,
    mix: Mapping[str, float] | None = None,
    warm_up: float = 0.0,
    patient: bool = False,
    seed: int = 7,
) -> Outcome:
    """Put a load on a fleet.

    Args:
        curves: of one instance of each site.
        fleet: what answers.
        stages: the rate while time goes by.
        restricted: share of requests that must stay private, where it is not the measured one.
        mix: shares by kind, instead of the measured ones.
        warm_up: seconds at the begin that are not counted.
        patient: go on where so much is refused that the fleet will not do.
        seed: of all that is random.
    """
    chance = random.Random(seed)
    shares = mix or curves.shares(restricted)
    kinds = [kind for kind, share in shares.items() if share]
    cloud = _Cloud(curves, fleet, kinds, chance)
    asked = sum(stage.seconds * (stage.begin + stage.end) / 2 for stage in stages)
    allowed = math.inf if patient else REFUSED * asked
    cloud.environment.process(cloud.open(tuple(stages), shares, warm_up, allowed))
    cloud.environment.run()
    return cloud.outcome
