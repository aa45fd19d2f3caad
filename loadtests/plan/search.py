"""The cheapest fleet for every hour, by strategy."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from loadtests.hybrid.scenarios import Stage
from loadtests.plan.curves import Curves
from loadtests.plan.demand import Hour
from loadtests.plan.fleet import ALWAYS_PRIVATE, Fleet, Strategy
from loadtests.plan.prices import Prices
from loadtests.plan.simulate import Outcome, simulate
from loadtests.slo import Slo

REQUESTS = 12_000
"""Of a simulation: 120 of them are above the 99th percentile."""
WARM_UP_S = 5.0
GRID = 1.05
"""Rates are rounded up to a power of this: hours that hardly differ are calculated once."""
THRESHOLDS = (1, 2, 3, 4, 6, 8)
"""Unrestricted requests in flight by private process, that are tried."""
MARGIN = 0.95
"""A simulated percentile must be below so much of what is promised."""
BEYOND = "would be loaded beyond what was measured"


@dataclass(frozen=True)
class Cell:
    """One hour of a plan."""

    hour: Hour
    fleet: Fleet
    predicted: float
    """The promised percentile at the peak, milliseconds."""
    burst_share: float
    """At the hour's rate, of the unrestricted requests."""
    cost: float


@dataclass(frozen=True)
class Plan:
    """A whole horizon, or why there is none."""

    strategy: Strategy
    cells: tuple[Cell, ...] = ()
    failure: str = ""

    @property
    def cost(self) -> float:
        """Over the horizon; infinite where there is no plan."""
        return sum(cell.cost for cell in self.cells) if self.cells else math.inf


@dataclass
class Planner:
    """Searches with one set of inputs; remembers every simulation."""

    curves: Curves
    prices: Prices
    slo: Slo
    tell: Callable[[str], object] = lambda text: None
    _known: dict[tuple[object, ...], Outcome] = field(default_factory=dict)

    def plan(self, strategy: Strategy, hours: Sequence[Hour]) -> Plan:
        """The cheapest plan of a strategy."""
        best = Plan(
            strategy, failure=f"not even {self.prices.private.at_most} private instances bear the restricted load"
        )
        for private in range(1, self.prices.private.at_most + 1):
            owned = private * self.prices.private.price_per_hour * len(hours)
            if owned >= best.cost:
                break
            found = self._with(strategy, hours, private, best.cost - owned)
            if found.cost < best.cost or not best.cells:
                best = found
        return best

    def _with(self, strategy: Strategy, hours: Sequence[Hour], private: int, left: float) -> Plan:
        """The cheapest plan with so many private instances, if its public ones cost no more than is left."""
        fleets, spent = [], 0.0
        for hour in hours:
            self.tell(f"{strategy}, {private} private: {hour.name}")
            found = self.fleet(strategy, hour, private)
            if isinstance(found, str):
                return Plan(strategy, failure=f"{hour.name}, {hour.peak:g} requests a second at its peak: {found}")
            fleets.append(found)
            spent += found.public * self.prices.public.price_per_hour
            if spent >= left:
                return Plan(strategy, failure="dearer than with fewer private instances")
        return Plan(strategy, tuple(self._cell(*each) for each in zip(hours, fleets, _before(fleets), strict=True)))

    def fleet(self, strategy: Strategy, hour: Hour, private: int) -> Fleet | str:
        """Return the fleet with the fewest public instances that keeps the promise at an hour's rate and peak.

        Where there is none it is the reason.
        """
        free = hour.peak * self._free(hour)
        most = {site: self.curves.sites[site].highest for site in ("private", "public")}
        if math.ceil((hour.peak - free) / most["private"]) > private:
            return f"{private} private instances {BEYOND}"
        alone, at_most = Fleet(private, 0, ALWAYS_PRIVATE), self.prices.public.at_most
        tried = [] if strategy == "public" else [alone]
        if strategy != "private":
            processes = self.curves.sites["private"].processes
            thresholds = (0,) if strategy == "public" else tuple(per * processes * private for per in THRESHOLDS)
            fewest = max(1, math.ceil(free / most["public"])) if strategy == "public" else 1
            tried += [Fleet(private, public, each) for public in range(fewest, at_most + 1) for each in thresholds]
            tried = tried or [Fleet(private, at_most, thresholds[0])]
        for fleet in tried:
            if self._keeps(fleet, hour):
                return fleet
        return self._missed(tried[-1], hour)

    def _free(self, hour: Hour) -> float:
        """Share of an hour's requests that may leave the private site."""
        shares = self.curves.shares(hour.restricted)
        return sum(share for kind, share in shares.items() if kind not in self.curves.restricted)

    def _within(self, fleet: Fleet, hour: Hour) -> bool:
        """Whether no instance is loaded beyond what was measured, by what the simulation sends to each site."""
        private = fleet.private * self.curves.sites["private"].highest
        public = fleet.public * self.curves.sites["public"].highest
        if not fleet.public or hour.peak > private + public:
            return hour.peak <= private + public
        burst = hour.peak * self._free(hour) * self._outcome(fleet, hour.peak, hour.restricted).burst_share
        return burst <= public and hour.peak - burst <= private

    def _keeps(self, fleet: Fleet, hour: Hour) -> bool:
        return self._within(fleet, hour) and all(
            self.predicted(fleet, rate, hour.restricted) <= MARGIN * self.slo.ms for rate in (hour.peak, hour.rate)
        )

    def _missed(self, fleet: Fleet, hour: Hour) -> str:
        instances = f"{fleet.private} private and {fleet.public} public instances"
        if not self._within(fleet, hour):
            return f"{instances} {BEYOND}"
        return f"{self.slo.percentile} is {self.predicted(fleet, hour.peak, hour.restricted):.0f} ms with {instances}"

    def predicted(self, fleet: Fleet, rate: float, restricted: float | None) -> float:
        """The promised percentile at a rate, milliseconds."""
        return self._outcome(fleet, rate, restricted).percentile(self.slo.percent, self.slo.kind)

    def _outcome(self, fleet: Fleet, rate: float, restricted: float | None) -> Outcome:
        rounded = GRID ** math.ceil(math.log(rate, GRID))
        key = (fleet, rounded, restricted)
        if key not in self._known:
            stages = [Stage.level("level", WARM_UP_S + REQUESTS / rounded, rounded)]
            self._known[key] = simulate(self.curves, fleet, stages, restricted=restricted, warm_up=WARM_UP_S)
        return self._known[key]

    def _cell(self, hour: Hour, fleet: Fleet, before: int) -> Cell:
        public = self.prices.public
        outcome = self._outcome(fleet, hour.rate, hour.restricted)
        bursts = 3600 * hour.rate * outcome.public / max(1, len(outcome.took))
        new = max(0, fleet.public - before) * public.arrival_minutes[1] / 60
        cost = (
            fleet.private * self.prices.private.price_per_hour
            + (fleet.public + new) * public.price_per_hour
            + bursts * self.curves.bytes_per_answer / 1e9 * public.price_per_gigabyte
        )
        return Cell(hour, fleet, self.predicted(fleet, hour.peak, hour.restricted), outcome.burst_share, cost)


def _before(fleets: Sequence[Fleet]) -> list[int]:
    """Public instances of the hour before each; before the first comes the last, as day follows day."""
    counts = [fleet.public for fleet in fleets]
    return [counts[-1], *counts[:-1]]
