"""The planner's tail: a site whose kinds share its cores is predicted without bias, and the check tells the sign."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from loadtests.hybrid import curves as program
from loadtests.hybrid.contention import LEAST, in_flight, slowdown, unhindered
from loadtests.hybrid.curves import curve, point
from loadtests.hybrid.run import Driven, Plan
from loadtests.hybrid.scenarios import Stage, scenario
from loadtests.plan.check import blocks
from loadtests.plan.curves import Curves
from loadtests.plan.fleet import ALWAYS_PRIVATE, Fleet
from loadtests.plan.simulate import simulate
from shelfbridge.measure.report import markdown

MIX = {"search": 0.6, "recommend": 0.28, "search_personal": 0.12}
WORK_S = (0.006, 0.005, 0.010)
CORES = PROCESSES = 2


def shared(rate: float, count: int, seed: int) -> tuple[Any, Any, Any, Any]:
    """Kinds, others met, service and latency of a site whose kinds have queues of their own and share two cores."""
    chance = np.random.default_rng(seed)
    due = np.cumsum(chance.exponential(1 / rate, count))
    kinds = chance.choice(len(MIX), count, p=list(MIX.values()))
    work = np.array(WORK_S)[kinds] * chance.lognormal(-0.08, 0.4, count)
    queues: list[list[int]] = [[] for _ in MIX]
    left: dict[int, float] = {}
    begun, ended = np.zeros(count), np.zeros(count)
    at, now = 0, 0.0
    while at < count or left:
        speed = min(1.0, CORES / max(1, len(left)))
        ends = min(left.values(), default=np.inf) / speed
        comes = due[at] - now if at < count else np.inf
        step = min(ends, comes)
        left = {one: rest - step * speed for one, rest in left.items()}
        now += step
        if comes <= ends:
            queues[kinds[at]].append(at)
            of, at = kinds[at], at + 1
        else:
            done = min(left, key=lambda one: left[one])
            del left[done]
            ended[done], of = now, kinds[done]
        if queues[of] and sum(kinds[one] == of for one in left) < PROCESSES:
            first = queues[of].pop(0)
            left[first], begun[first] = work[first], now
    took = (ended - due) * 1000
    return kinds, in_flight(due, took), (ended - begun) * 1000, took


def measured(rates: Sequence[float], *, contention: bool) -> Curves:
    """Curves of such a site, as they are measured; without `contention` as if service knew nothing of the others."""
    runs = {rate: shared(rate, 4000, seed) for seed, rate in enumerate(rates)}
    of = [
        (met[kinds == at], service[kinds == at]) for kinds, met, service, _ in runs.values() for at in range(len(MIX))
    ]
    factors = slowdown(of) if contention else [1.0]
    points = []
    for rate, (kinds, met, service, _) in runs.items():
        drawn = {}
        for at, kind in enumerate(MIX):
            some = unhindered(service[kinds == at], met[kinds == at], factors)
            times = {"service_ms": np.quantile(some, np.linspace(0, 1, 201)).tolist()}
            drawn[kind] = times | {"way_ms": [0.0, 0.0], "other_ms": [0.0, 0.0]}
        points.append({"rate": rate, "kinds": drawn})
    site = {"processes": PROCESSES, "slowdown": factors, "points": points}
    sites = {"private": site, "public": site}
    return Curves.model_validate({"bytes_per_answer": 1, "mix": MIX, "restricted": [], "sites": sites})


def test_the_tail_of_a_site_that_shares_its_cores_is_predicted_at_a_load_that_no_curve_knows():
    held_out, requests = 205.0, 12_000
    truth = float(np.percentile(shared(held_out, requests, seed=99)[3], 99))
    errors = {}
    for contention in (False, True):
        curves = measured((60, 120, 180, 230), contention=contention)
        stages = [Stage.level("level", requests / held_out, held_out)]
        predicted = simulate(curves, Fleet(1, 0, ALWAYS_PRIVATE), stages).percentile(99)
        errors[contention] = predicted / truth - 1
    assert errors[False] < -0.07
    assert abs(errors[True]) < 0.06


def test_others_in_flight_are_counted_as_each_is_sent():
    assert in_flight([0.0, 0.005, 0.02, 0.021], [10.0, 4.0, 5.0, 5.0]).tolist() == [0, 1, 0, 1]


def test_a_known_slowdown_is_found_whatever_the_kinds_cost():
    chance = np.random.default_rng(2)
    groups = []
    for cost in (3.0, 20.0):
        met = chance.integers(0, 4, 2000)
        groups.append((met, cost * np.array([1.0, 1.0, 1.5, 2.0])[met] * chance.lognormal(0, 0.2, 2000)))
    assert slowdown(groups) == pytest.approx([1.0, 1.0, 1.5, 2.0], rel=0.05)
    met, service = groups[0]
    assert unhindered(service, met, [1.0, 1.0, 1.5, 2.0])[met == 3].mean() == pytest.approx(3.06, rel=0.05)


def test_few_requests_tell_no_slowdown_of_their_own():
    met = np.repeat([0, 1, 9], [100, LEAST, LEAST - 1])
    assert len(slowdown([(met, np.ones(len(met)))])) == 2
    assert slowdown([]) == [1.0]


def test_curves_tell_service_without_the_slowdown_and_the_slowdown_apart():
    """Answers of 10 ms, and of 20 ms where another was in flight when they were sent."""
    sent = [(at + offset, service) for at in range(200) for offset, service in ((0.0, 10.0), (0.004, 20.0))]
    answers = pd.DataFrame(sent, columns=["time", "in_steps"])
    answers = answers.assign(
        site="private", kind="search", ms=answers.in_steps + 3, client=1.0, gateway=1.0, beyond=1.0
    )
    found = point(answers, "private", begin=-1.0, occupied_ms={"search": 0.0}, processes=2)
    site = curve([(400.0, found)], processes=2)
    assert site["slowdown"] == pytest.approx([1.0, 2.0], rel=0.01)
    kind = site["points"][0]["kinds"]["search"]
    assert kind["count"] == 400
    assert kind["service_ms"] == pytest.approx([10.0] * len(kind["service_ms"]), rel=0.05)
    assert kind["latency_ms"]["p99"] == 23.0


def test_the_planner_reads_what_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(5)

    def driven(cloud: Any, plan: Plan, tell: Any) -> Driven:
        plan.folder.mkdir(parents=True, exist_ok=True)
        count = 800
        answers = pd.DataFrame({"time": np.sort(chance.uniform(0, plan.scenario.seconds, count)), "error": ""})
        answers["kind"] = chance.choice(list(MIX), count, p=list(MIX.values()))
        answers["site"] = np.where((answers.kind == "search") & (chance.random(count) < 0.5), "public", "private")
        answers = answers.assign(ms=15.0, in_steps=9.0, client=1.0, gateway=1.0, beyond=4.0, bytes=700)
        return Driven(0.0, answers, None, {}, {site: dict.fromkeys(MIX, 10.0) for site in ("private", "public")})

    monkeypatch.setattr(program, "drive", driven)
    site, wan = SimpleNamespace(processes=2), SimpleNamespace(words="none")
    cloud = SimpleNamespace(topology=SimpleNamespace(private=site, public=site), hybrid=SimpleNamespace(wan=wan))
    plan = Plan(scenario("steady", 1), "hybrid", tmp_path / "shop.json", tmp_path, MIX, think=1, workers=1, seed=1)
    program.curves(cloud, plan, lambda text: None, rates=[20.0, 40.0], held_out=[], seconds=10)
    curves = Curves.read(tmp_path / "curves.json")
    assert curves.bytes_per_answer == 700
    assert [point.kinds["search"].service_ms[100] for point in curves.sites["public"].points] == [10.0] * 4
    assert curves.sites["private"].points[0].kinds["recommend"].way_ms[0] == 3.0
    assert "| public |" in (tmp_path / "curves.md").read_text()


def run(error: float) -> dict[str, Any]:
    rows = [
        {"kind": kind, "percentile": name, "measured": 100.0, "predicted": 100 * (1 + error), "error": error}
        for kind in ("all", "search")
        for name in ("p50", "p95", "p99")
    ]
    share = {"measured": 0.1, "predicted": 0.1}
    return {"name": "steady", "rate": 30.0, "requests": 1000, "rows": rows, "burst_share": share}


def text(found: list[dict[str, Any]]) -> str:
    return markdown(blocks(found))


def test_the_check_tells_the_sign_and_whether_the_margin_covers_it():
    low = text([run(-0.2), run(-0.08)])
    assert "predicted with errors of -20% to -8%, -14% on average over 2 runs: too low in every one" in low
    assert "margin of 5% does not cover the lowest" in low
    fair = text([run(-0.02), run(0.03)])
    assert "too low" not in fair
    assert "margin of 5% covers the lowest" in fair
