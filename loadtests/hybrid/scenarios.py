"""How many visitors there are while time goes by, and what fails meanwhile.

A scenario is a list of stages. Rates are requests per second; each visitor thinks between two requests, so that so many
visitors make the rate. Stages that are called `WARM_UP` count in no figure.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

WARM_UP = "warm-up"
WARM_UP_S = 4.0
SURGE = 10.0
"""A flash sale's rate, in times of the rate before."""
SURGE_S = 2.0
"""Seconds within which it is reached."""
DAY = {
    **dict(enumerate((0.35, 0.22, 0.15, 0.12, 0.12, 0.18, 0.32, 0.5, 0.68, 0.8, 0.88, 0.95))),
    **dict(enumerate((1.0, 0.96, 0.9, 0.88, 0.9, 0.97, 1.08, 1.25, 1.35, 1.2, 0.9, 0.6), 12)),
}
"""A shop's day: the share of the named rate by hour, the most of it in the evening."""
STAIRS = 8


@dataclass(frozen=True)
class Stage:
    """A part of a run; the rate goes from one to the other in a straight line."""

    name: str
    seconds: float
    begin: float
    end: float

    @classmethod
    def level(cls, name: str, seconds: float, rate: float) -> "Stage":
        """At one rate."""
        return cls(name, seconds, rate, rate)


@dataclass(frozen=True)
class Fault:
    """What happens to the site that answers first."""

    way: Literal["kill", "freeze"]
    at: float
    """Seconds after the begin."""
    seconds: float = 0.0
    """Until a frozen site goes on; a killed one is started again by its keeper."""


@dataclass(frozen=True)
class Scenario:
    """One run."""

    name: str
    about: str
    stages: tuple[Stage, ...]
    fault: Fault | None = None
    wan: dict[str, Any] | None = None
    """Fields of the topology's `wan` that are others."""

    @property
    def seconds(self) -> float:
        """Length of the run."""
        return sum(stage.seconds for stage in self.stages)

    def at(self, seconds: float) -> tuple[str, float] | None:
        """The stage's name and the rate at a time; None after the end."""
        return at(self.stages, seconds)


def at(stages: tuple[Stage, ...], seconds: float) -> tuple[str, float] | None:
    """The stage's name and the rate so long after the begin; None after the end."""
    for stage in stages:
        if seconds < stage.seconds:
            return stage.name, stage.begin + (stage.end - stage.begin) * seconds / stage.seconds
        seconds -= stage.seconds
    return None


def _warm(rate: float) -> Stage:
    return Stage.level(WARM_UP, WARM_UP_S, rate)


def steady(rate: float, seconds: float) -> Scenario:
    """One rate."""
    return Scenario("steady", "one rate", (_warm(rate), Stage.level("steady", seconds, rate)))


def staircase(rate: float, seconds: float) -> Scenario:
    """Up to the rate in equal steps, until the sites are saturated."""
    steps = [Stage.level(f"step {n}", seconds / STAIRS, rate * n / STAIRS) for n in range(1, STAIRS + 1)]
    return Scenario("staircase", f"{STAIRS} steps up to the rate", (_warm(rate / STAIRS), *steps))


def flash_sale(rate: float, seconds: float) -> Scenario:
    """Ten times the rate within two seconds, and back."""
    part = (seconds - 2 * SURGE_S) / 3
    stages = (
        _warm(rate),
        Stage.level("before", part, rate),
        Stage("surge", SURGE_S, rate, SURGE * rate),
        Stage.level("sale", part, SURGE * rate),
        Stage("end", SURGE_S, SURGE * rate, rate),
        Stage.level("after", part, rate),
    )
    return Scenario("flash_sale", f"{SURGE:g} times the rate within {SURGE_S:g} s", stages)


def day(rate: float, seconds: float) -> Scenario:
    """A day, compressed."""
    hours = [Stage(f"{hour:02}:00", seconds / 24, rate * DAY[hour], rate * DAY[(hour + 1) % 24]) for hour in range(24)]
    return Scenario("day", f"24 hours in {seconds:g} s", (_warm(rate * DAY[0]), *hours))


def site_killed(rate: float, seconds: float) -> Scenario:
    """The site that answers first gets SIGKILL; its keeper starts it again."""
    fault = Fault("kill", at=WARM_UP_S + seconds / 4)
    about = "the site that answers first is killed (SIGKILL); its keeper starts it again"
    return _failure("site_killed", about, rate, seconds, fault)


def site_frozen(rate: float, seconds: float) -> Scenario:
    """The site that answers first gets SIGSTOP, and goes on a while after."""
    fault = Fault("freeze", at=WARM_UP_S + seconds / 3, seconds=seconds / 3)
    return _failure("site_frozen", "the site that answers first freezes (SIGSTOP), then goes on", rate, seconds, fault)


def _failure(name: str, about: str, rate: float, seconds: float, fault: Fault) -> Scenario:
    return Scenario(name, about, (_warm(rate), Stage.level("before", seconds, rate)), fault)


def slow_wan(rate: float, seconds: float) -> Scenario:
    """Steady, the public site being far away."""
    wan = {"rtt_ms": 150, "jitter_ms": 15, "mbit_per_s": 5}
    return _with_wan("slow_wan", "RTT 150 ± 15 ms, 5 Mbit/s", steady(rate, seconds), wan)


def packet_loss(rate: float, seconds: float) -> Scenario:
    """Steady, the way to the public site losing packets; needs root."""
    return _with_wan("packet_loss", "2 % of the packets get lost", steady(rate, seconds), {"loss": 0.02})


def _with_wan(name: str, about: str, scenario: Scenario, wan: dict[str, Any]) -> Scenario:
    return Scenario(name, about, scenario.stages, wan=wan)


SCENARIOS: dict[str, Callable[[float, float], Scenario]] = {
    made.__name__: made
    for made in (steady, staircase, flash_sale, day, site_killed, site_frozen, slow_wan, packet_loss)
}
"""By name: what makes a scenario of a rate and a length in seconds, the warm-up not counted in it."""


def visitors(rate: float, think_s: float) -> int:
    """How many make a rate, where each makes a request every `think_s` seconds."""
    return max(1, math.ceil(rate * think_s))
