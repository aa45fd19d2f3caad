"""How many visitors there are while time goes by, and what fails meanwhile: `scenarios.toml`, at a rate and a length.

Rates are requests per second; each visitor thinks between two requests, so that so many visitors make the rate. Stages
that are called `WARM_UP` count in no figure.
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

WARM_UP = "warm-up"
WARM_UP_S = 4.0
SCENARIOS: Mapping[str, Mapping[str, Any]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


@dataclass(frozen=True)
class Stage:
    """A part of a run; the rate goes from one to the other in a straight line."""

    name: str
    seconds: float
    begin: float
    end: float

    @classmethod
    def level(cls, name: str, seconds: float, rate: float) -> "Stage":
        """Return a stage at one rate."""
        return cls(name, seconds, rate, rate)


@dataclass(frozen=True)
class Fault:
    """What happens to the site that answers first, `at` so many seconds after the begin.

    seconds: until a frozen site goes on; a killed one is started again by its keeper.
    """

    way: Literal["kill", "freeze"]
    at: float
    seconds: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """One run."""

    name: str
    about: str
    stages: tuple[Stage, ...]
    fault: Fault | None = None

    @property
    def seconds(self) -> float:
        """Length of the run, its warm-up included."""
        return sum(stage.seconds for stage in self.stages)

    def phase(self, seconds: float) -> str:
        """Return the stage's name at a time after the begin; after the end it is the last one's."""
        now = at(self.stages, seconds)
        return now[0] if now else self.stages[-1].name


def at(stages: Sequence[Stage], seconds: float) -> tuple[str, float] | None:
    """Return the stage's name and the rate so long after the begin; None after the end."""
    for stage in stages:
        if seconds < stage.seconds:
            return stage.name, stage.begin + (stage.end - stage.begin) * seconds / stage.seconds
        seconds -= stage.seconds
    return None


def scenario(name: str, rate: float, seconds: float | None = None) -> Scenario:
    """Return one of `SCENARIOS` after a warm-up.

    Args:
        name: of the scenario.
        rate: requests a second that its rates are multiples of.
        seconds: length without the warm-up; its own if None.
    """
    given = SCENARIOS[name]
    length = float(seconds or given["seconds"])
    shared = [stage for stage in given["stages"] if "seconds" not in stage]
    part = (length - sum(stage.get("seconds", 0.0) for stage in given["stages"])) / len(shared)
    stages = [
        Stage(stage["name"], stage.get("seconds", part), *(rate * times for times in stage["rates"]))
        for stage in given["stages"]
    ]
    fault = given.get("fault")
    return Scenario(
        name,
        given["about"],
        (Stage.level(WARM_UP, WARM_UP_S, stages[0].begin), *stages),
        fault and Fault(fault["way"], WARM_UP_S + length * fault["at"], length * fault.get("seconds", 0.0)),
    )


def visitors(rate: float, think_s: float) -> int:
    """Return how many visitors make a rate, where each makes a request every `think_s` seconds."""
    return max(1, math.ceil(rate * think_s))
