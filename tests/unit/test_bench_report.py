"""The course of a measurement and its report, from samples that are made up."""

import json
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from loadtests.bench import rounds
from loadtests.bench.__main__ import parser, plan_of, start
from loadtests.bench.load import Load, Sample
from loadtests.bench.queries import QueryStream
from loadtests.bench.report import closed_loops, ratios, relevance, table, write_report
from loadtests.bench.rounds import Course, Plan, figures
from loadtests.bench.servers import Contender
from shelfbridge.errors import PrerequisiteError

PLAN = Plan(rounds=2, clients=(1, 4), rates=(5.0, 50.0), fractions=(0.5,), seconds=1.0, searches=10)
SPEED = {"search": 100.0, "infinity": 10.0, "litserve": 20.0}


@dataclass
class Still:
    """A server that only notes whether it may work."""

    pid: int = 1
    working: bool = False

    def up(self) -> None: ...

    def down(self) -> None: ...

    def hold(self) -> None:
        self.working = False

    def release(self) -> None:
        self.working = True


@dataclass
class Lab:
    """Stands for the load generator: what it was asked, and which servers were working then."""

    contenders: list[Contender]
    loads: list[tuple[str, Load]] = field(default_factory=list)
    failing: str = ""

    def generate(self, load: Load) -> Sample:
        name = load.caller["name"]
        assert [one.name for one in self.contenders if one.server.working] == [name]
        self.loads.append((name, load))
        if name == self.failing:
            raise PrerequisiteError("it is broken")
        speed = load.rate or SPEED[name]
        return Sample([1000 / SPEED[name]] * 100, {}, 100 / speed, 2.0, 1.0, 50.0, [["a"]] * len(load.queries))


@pytest.fixture
def lab(monkeypatch):
    made = Lab([Contender(name, Still(), {"name": name}, repeats=False) for name in SPEED])
    monkeypatch.setattr(rounds, "generate", made.generate)
    return made


def course(lab: Lab) -> Course:
    words = [f"word{number}" for number in range(30_000)]
    return Course(lab.contenders, lambda: QueryStream(["tent", "lamp"], words), PLAN, Console(quiet=True))


def test_rounds_alternate_between_the_servers_at_every_step(lab):
    course(lab).measure()
    closed = [(name, load.clients) for name, load in lab.loads if load.clients]
    first = [("search", 1), ("infinity", 1), ("litserve", 1), ("search", 4), ("infinity", 4), ("litserve", 4)]
    assert closed[:6] == first
    assert closed[6:9] == [("infinity", 1), ("litserve", 1), ("search", 1)]


def test_rates_that_a_server_cannot_keep_up_with_are_left_out(lab):
    course(lab).measure()
    assert [load.rate for name, load in lab.loads if name == "infinity" and load.rate] == [5, 5] * 2
    assert [load.rate for name, load in lab.loads if name == "search" and load.rate] == [5, 50, 50] * 2


def test_every_server_reads_the_same_queries_and_none_twice(lab):
    course(lab).measure()
    read = {name: [q for one, load in lab.loads if one == name for q in load.queries] for name in SPEED}
    assert len(read["search"]) == len(set(read["search"]))
    count = len(lab.loads[0][1].queries)
    assert read["search"][:count] == read["infinity"][:count]


def test_a_server_that_fails_is_left_out_with_its_reason_and_the_others_go_on(lab):
    lab.failing = "infinity"
    made = course(lab)
    made.measure()
    assert made.refused == {"infinity": "it is broken"}
    assert [name for name, _ in lab.loads].count("infinity") == 1
    assert {point["contender"] for point in made.points} == {"search", "litserve"}


def test_a_repeating_row_is_warmed_before_it_is_measured(lab):
    lab.contenders[:] = [Contender("search", Still(), {"name": "search"}, repeats=True)]
    made = course(lab)
    made.measure()
    assert len(lab.loads) == 2 * len(made.points)
    assert all(load.clients == 4 and len(load.queries) > 4000 for _, load in lab.loads[::2])
    assert all(
        set(load.queries) <= set(QueryStream(["tent", "lamp"], [f"word{n}" for n in range(30_000)]).pool)
        for _, load in lab.loads
    )


def test_figures_are_per_second_and_per_thousand():
    found = figures(Sample(list(range(1, 101)), {}, 4.0, 2.0, 1.0, 50.0))
    assert found["per_second"] == 25
    assert found["cpu_per_1000"] == 20
    assert found["client_cpu_per_1000"] == 10
    assert found["client_busy"] == 0.25
    assert found["p50"] == pytest.approx(50.5)
    assert found["p99"] == pytest.approx(99.01)


def point(contender: str, turn: int, speed: float, p99: float, **more: Any) -> dict[str, Any]:
    base = dict.fromkeys(("p50", "p95", "cpu_per_1000", "client_cpu_per_1000", "resident_mb"), 2.0)
    return {
        "contender": contender, "round": turn, "clients": 1, "rate": 0.0, "searches": 10, "errors": {},
        "client_busy": 0.1, "per_second": speed, "p99": p99, **base, **more,
    }  # fmt: skip


def test_ratios_are_taken_round_by_round():
    points = [point("search", 0, 100, 10), point("infinity", 0, 2, 500), point("search", 1, 50, 20),
              point("infinity", 1, 2, 500), point("search", 2, 100, 10), point("infinity", 2, 1, 500)]  # fmt: skip
    (row,) = ratios(points)
    assert row["per_second"] == {"median": 50, "low": 25, "high": 100}
    assert row["p99"] == {"median": 50, "low": 25, "high": 50}


def test_a_round_without_the_peer_gives_no_ratio():
    assert ratios([point("search", 0, 100, 10), point("infinity", 1, 2, 500)]) == []


def test_relevance_is_compared_query_by_query():
    found = relevance({"search": np.array([1.0, 0.5, 0.8]), "infinity": np.array([0.9, 0.4, 0.7])})
    assert found["infinity"]["difference"] == pytest.approx(-0.1)
    assert found["search"]["difference"] == 0


def record() -> dict[str, Any]:
    rows = [("search", 100.0, 10.0), ("infinity", 2.0, 500.0)]
    points = [point(*row[:1], turn, *row[1:]) for turn in range(2) for row in rows]
    points.append(point("search", 0, 100, 12, clients=0, rate=50.0, fraction=0.5) | {"errors": {"Overloaded": 3}})
    del points[-1]["clients"]
    points[0]["client_busy"] = 0.9
    return {
        "machine": {"cpu": "Some CPU", "cores": 2}, "plan": {"rounds": 2, "clients": [1]}, "products": 10,
        "split": "dev", "judged": 2, "refused": {"litserve": "no wheel"}, "points": points,
        "relevance": relevance({"search": np.array([1.0, 0.5]), "infinity": np.array([0.9, 0.5])}),
        "closed": closed_loops(points), "ratios": ratios(points),
    }  # fmt: skip


def test_the_table_tells_ratios_failures_and_a_busy_client():
    text = table(record())
    assert "| search : infinity | 50.0 | 50.0 | 1.00 |" in text
    assert "**litserve** was not measured: no wheel" in text
    assert "the load generator used 0.90 of a core" in text
    assert "| 50% of its most | search | 50.0 | 2.00 | 2.00 | 12.0 | 3 |" in text
    assert "-0.050" in text


def test_the_report_is_written_beside_its_record(tmp_path):
    write_report(tmp_path / "out", record())
    assert json.loads((tmp_path / "out" / "bench.json").read_text())["judged"] == 2
    assert (tmp_path / "out" / "bench.png").stat().st_size > 10_000


def test_a_server_whose_start_is_interrupted_is_ended(lab):
    class Interrupted(Still):
        ended = False

        def up(self) -> None:
            raise KeyboardInterrupt

        def down(self) -> None:
            self.ended = True

    server = Interrupted()
    with pytest.raises(KeyboardInterrupt), ExitStack() as running:
        start(course(lab), running, [Contender("slow", server, {})])
    assert server.ended


def test_the_command_line_changes_the_quick_plan():
    needed = ["--release", "r", "--catalogue", "c", "--judgments", "j", "--out", "o"]
    plan = plan_of(parser().parse_args([*needed, "--quick", "--clients", "2", "8", "--rates", "3"]))
    assert (plan.rounds, plan.clients, plan.rates, plan.fractions) == (1, (2, 8), (3.0,), (0.5,))


def test_an_unknown_peer_is_refused(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["--peers", "infinity,elastic"])
    assert "elastic: not among infinity" in capsys.readouterr().err
