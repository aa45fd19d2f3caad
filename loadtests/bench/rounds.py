"""The course of a measurement: interleaved rounds, one server under load at a time, the others up but still."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from rich.console import Console

from build.progress import progress
from loadtests.bench.servers import Contender
from loadtests.load import Load, Sample
from loadtests.queries import QueryStream
from loadtests.serving import generate, put
from loadtests.usage import cpu_seconds
from shelfbridge.errors import ShelfbridgeError

RESERVE = 4000
"""Queries given to a closed loop beyond those that it counts: for its warm-up."""
ARRIVALS = 10
"""Searches that an open loop lasts for at least."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int = 5
    clients: tuple[int, ...] = (1, 4, 16)
    rates: tuple[float, ...] = (1.0, 10.0, 100.0)
    """Searches per second of the open loops, for contenders that can sustain them."""
    fractions: tuple[float, ...] = (0.5, 0.8)
    """The same as parts of what a contender did in its best closed loop of the round."""
    seconds: float = 30.0
    searches: int = 3000
    k: int = 10


@dataclass
class Course:
    """What was measured so far, and who fell out and why."""

    contenders: list[Contender]
    make_stream: Callable[[], QueryStream]
    """Every server reads the same queries in the same order."""
    plan: Plan
    console: Console
    points: list[dict[str, Any]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    _streams: dict[int, QueryStream] = field(default_factory=dict)

    def answers(self, queries: Sequence[str]) -> dict[str, list[list[str]]]:
        """Return each contender's answers, best first; one that is asked as another was answers the same."""
        found: dict[str, list[list[str]]] = {}
        for one in self.contenders:
            same = [
                found[other.name] for other in self.contenders if other.caller == one.caller and other.name in found
            ]
            if same:
                found[one.name] = same[0]
                continue
            load = Load(one.caller, one.server.pid, list(queries), k=self.plan.k)
            with self.console.status(f"{one.name}: {len(queries):,} judged queries"):
                if sample := self._try(one, partial(generate, load)):
                    found[one.name] = sample.answers
        return found

    def measure(self) -> None:
        """All points of all rounds; each round begins with another contender."""
        plan = self.plan
        loads: list[dict[str, float]] = [{"clients": clients} for clients in plan.clients]
        loads += [{"rate": rate} for rate in plan.rates] + [{"fraction": part} for part in plan.fractions]
        with progress(self.console) as bar:
            task = bar.add_task("measuring", total=plan.rounds * len(loads))
            for number in range(plan.rounds):
                first = number % len(self.contenders)
                for place, load in enumerate(loads):
                    for one in self.contenders[first:] + self.contenders[:first]:
                        if one.name not in self.refused:
                            self._point(one, load, number, seed=number * len(loads) + place)
                    bar.advance(task)

    def _point(self, one: Contender, load: dict[str, float], number: int, seed: int) -> None:
        """A point; searches come at the same moments, in the units of its rate, to all that have its seed."""
        plan = self.plan
        rate = load.get("rate", 0.0)
        if "clients" not in load:
            most = max(p["per_second"] for p in self.points if (p["contender"], p["round"]) == (one.name, number))
            rate = rate or load["fraction"] * most
            if rate >= most:
                return
        seconds = max(plan.seconds, ARRIVALS / rate) if rate else plan.seconds
        count = int(rate * (seconds + 1) * 1.5) + 50 if rate else plan.searches + RESERVE
        asked = Load(one.caller, one.server.pid, [], plan.k, int(load.get("clients", 0)), rate, seconds, plan.searches)
        if sample := self._try(one, lambda: self._sample(one, replace(asked, seed=seed), count)):
            self.points.append({"contender": one.name, "round": number, **load, "rate": rate, **figures(sample)})
            point = self.points[-1]
            put = f"{load['clients']} clients" if "clients" in load else f"{rate:.1f}/s sent"
            self.console.print(
                f"round {number + 1}  {one.name:22} {put:14} {point['per_second']:8.2f}/s  "
                f"p50 {point['p50']:9.2f}  p99 {point['p99']:9.2f} ms",
                style="dim",
                highlight=False,
                soft_wrap=True,
            )

    def _sample(self, one: Contender, load: Load, count: int) -> Sample:
        stream = self._streams.setdefault(id(one.server), self.make_stream())
        if not one.repeats:
            return put(load, stream, count)
        many = self.plan.searches + RESERVE
        generate(replace(load, queries=stream.zipf(many, load.seed + 10_000), clients=4, rate=0.0))
        return generate(replace(load, queries=stream.zipf(count, load.seed)))

    def _try(self, one: Contender, work: Callable[[], Sample]) -> Sample | None:
        """A sample, or None where the contender failed: it is measured no more."""
        one.server.release()
        try:
            return work()
        except ShelfbridgeError as error:
            self.refused[one.name] = str(error)
            self.console.print(f"{one.name}: {error}", style="yellow", highlight=False, markup=False)
            return None
        finally:
            one.server.hold()


def figures(sample: Sample) -> dict[str, Any]:
    """A sample in figures: times in milliseconds, memory in MB, CPU in seconds per 1,000 searches."""
    done = len(sample.latencies_ms)
    thousands = done / 1000
    percentiles = {f"p{p}": sample.percentile(p) for p in (50, 95, 99)}
    return {
        "searches": done,
        "seconds": sample.seconds,
        "per_second": done / sample.seconds,
        "sent_per_second": sample.sent_per_second,
        **percentiles,
        "errors": sample.errors,
        "cpu_per_1000": sample.server_cpu_s / thousands,
        "client_cpu_per_1000": sample.client_cpu_s / thousands,
        "cores": sample.server_cpu_s / sample.seconds,
        "client_busy": sample.client_cpu_s / sample.seconds,
        "resident_mb": sample.resident_mb,
    }


def idle(contenders: Sequence[Contender], seconds: float = 2.0) -> dict[str, float]:
    """Cores that each server uses when nobody asks it anything."""
    before = [_used(one) for one in contenders]
    time.sleep(seconds)
    return {one.name: (_used(one) - used) / seconds for one, used in zip(contenders, before, strict=True)}


def _used(one: Contender) -> float:
    return sum(cpu_seconds(one.server.pid).values())
