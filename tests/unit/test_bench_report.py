"""The course of a measurement and its report, from samples that are made up."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from loadtests import serving
from loadtests.bench import rounds
from loadtests.bench.__main__ import parser, plan_of, start
from loadtests.bench.report import blocks, closed_loops, draw, ratios, relevance
from loadtests.bench.rounds import Course, Plan, figures
from loadtests.bench.servers import Contender
from loadtests.load import Load, Sample
from loadtests.program import flags
from loadtests.queries import QueryStream
from shelfbridge.errors import PrerequisiteError
from shelfbridge.measure.report import markdown, picture

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
        took = [1000 / SPEED[name]] * 100
        asked = 100 if load.clients else len(load.queries)
        return Sample(took, {}, 100 / speed, 2.0, 1.0, 50.0, asked, speed, [["a"]] * len(load.queries))


@pytest.fixture
def lab(monkeypatch):
    made = Lab([Contender(name, Still(), {"name": name}, repeats=False) for name in SPEED])
    for module in (rounds, serving):
        monkeypatch.setattr(module, "generate", made.generate)
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
    used = {
        name: [q for one, load in lab.loads if one == name for q in load.queries[: 100 if load.clients else None]]
        for name in SPEED
    }
    assert len(used["search"]) == len(set(used["search"]))
    assert used["search"][:400] == used["infinity"][:400]


def test_searches_of_an_open_loop_come_to_all_at_the_same_moments(lab):
    course(lab).measure()
    seeds = {(name, load.rate): load.seed for name, load in lab.loads[::-1] if load.rate}
    assert seeds["search", 5.0] == seeds["infinity", 5.0]
    opened = [load.seed for name, load in lab.loads if name == "search" and load.rate]
    assert len(set(opened)) == len(opened)


def test_what_is_asked_as_another_was_is_not_judged_again(lab):
    warm = Contender("search, warm", Still(), lab.contenders[0].caller, repeats=True)
    lab.contenders.append(warm)
    answers = course(lab).answers(["tent", "lamp"])
    assert answers["search, warm"] == [["a"], ["a"]]
    assert [name for name, _ in lab.loads] == list(SPEED)


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
    assert found["cores"] == 0.5
    assert found["cpu_per_1000"] == 20
    assert found["client_cpu_per_1000"] == 10
    assert found["client_busy"] == 0.25
    assert found["p50"] == pytest.approx(50.5)
    assert found["p99"] == pytest.approx(99.01)


def point(contender: str, turn: int, speed: float, p99: float, **more: Any) -> dict[str, Any]:
    base = dict.fromkeys(("p50", "p95", "cpu_per_1000", "client_cpu_per_1000", "resident_mb"), 2.0)
    return {
        "contender": contender, "round": turn, "clients": 1, "rate": 0.0, "searches": 10, "errors": {},
        "client_busy": 0.1, "cores": 2.0, "per_second": speed, "sent_per_second": speed, "p99": p99, **base, **more,
    }  # fmt: skip


def test_ratios_are_taken_round_by_round():
    points = [point("search", 0, 100, 10), point("infinity", 0, 2, 500), point("search", 1, 50, 20),
              point("infinity", 1, 2, 500), point("search", 2, 100, 10), point("infinity", 2, 1, 500)]  # fmt: skip
    (row,) = ratios(points)
    assert row["per_second"] == {"median": 50, "low": 25, "high": 100}
    assert row["p99"] == {"median": 50, "low": 25, "high": 50}


def test_a_round_without_the_peer_gives_no_ratio():
    assert ratios([point("search", 0, 100, 10), point("infinity", 1, 2, 500)]) == []


def test_a_warm_row_is_compared_with_no_peer():
    assert ratios([point("search, warm", 0, 1000, 1), point("infinity", 0, 2, 500)]) == []


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
        "machine": {"processor": "Some CPU", "cores": 2}, "products": 10, "flags": "--warm", "stopped": False,
        "plan": {"rounds": 2, "clients": [1], "seconds": 30.0, "searches": 3000},
        "reads": {
            "peers": {"products": 50, "pieces": 128, "words": 45, "network": "the full fp32 network"},
            "search_deep": {"products": 20, "pieces": 96, "network": "cross-encoder-student"},
        },
        "split": "dev", "judged": 2, "refused": {"litserve": "no wheel"}, "points": points,
        "relevance": relevance({"search": np.array([1.0, 0.5]), "infinity": np.array([0.9, 0.5])}),
        "closed": closed_loops(points), "ratios": ratios(points),
    }  # fmt: skip


def table(record: dict[str, Any]) -> str:
    return markdown(blocks(record))


def test_the_table_tells_ratios_failures_and_a_busy_client():
    text = table(record())
    assert "| search : infinity | 50.0 | 50.0 | 1.00 |" in text
    assert "**litserve** was not measured: no wheel" in text
    assert "the load generator used 0.90 of a core" in text
    assert "| 50% of its most | search | 50.0 | 100 | 10 | 2.00 | – | – | 3 |" in text
    assert "-0.050" in text
    assert "†" not in text


def test_no_ratio_is_told_to_a_peer_that_ranks_worse():
    ours, theirs = np.full(30, 0.7), np.random.default_rng(1).normal(0.5, 0.1, 30)
    made = record() | {"relevance": relevance({"search": ours, "infinity": theirs})}
    text = table(made)
    assert "search : infinity" not in text
    assert "No ratio is told to infinity: nDCG@10 is below that of search" in text
    as_good = made | {"relevance": relevance({"search": ours, "infinity": theirs + 0.2})}
    assert "search : infinity" in table(as_good)


def test_what_was_compared_and_how_is_said_above_the_tables():
    above = table(record()).partition("\n| ")[0]
    assert "medians of 2 rounds" in above
    assert "Flags: `--warm`" in above
    assert "reads 50 products a search, up to 128 word pieces" in above
    assert "search_deep reads 20, up to 96, by cross-encoder-student" in above
    assert "**litserve** was not measured: no wheel" in above
    assert "stopped" not in above
    assert "stopped" in table(record() | {"stopped": True}).partition("\n| ")[0]


def test_a_point_on_a_machine_that_was_not_free_is_marked():
    made = record()
    made["closed"] = closed_loops([point("search", 0, 100, 10), point("search", 1, 60, 20) | {"cores": 1.2}])
    text = table(made)
    assert "| search | 80.0 [60.0, 100] † | 15.0 [10.0, 20.0] † | 20 |" in text
    assert "†: in a round it used under 90% of the cores" in text


def test_the_record_is_drawn(tmp_path):
    picture(tmp_path / "bench.png", lambda figure: draw(figure, record()), (12, 4.5))
    assert (tmp_path / "bench.png").stat().st_size > 10_000


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


def test_the_flags_are_those_that_change_something():
    needed = ["--release", "r", "--catalogue", "c", "--judgments", "j", "--out", "o"]
    given = parser().parse_args([*needed, "--warm", "--rates", "3", "4", "--peers", "litserve,infinity"])
    assert flags(parser(), given) == "--peers litserve,infinity --warm --rates 3.0 4.0"


@pytest.mark.parametrize("flag", ["--rates", "--clients", "--rounds", "--fractions", "--candidates"])
def test_a_number_that_is_none_is_refused(flag, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args([flag, "0"])
    assert f"argument {flag}: '0' is no" in capsys.readouterr().err


def test_an_unknown_peer_is_refused(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["--peers", "infinity,elastic"])
    assert "elastic: not among bm25, control, infinity" in capsys.readouterr().err
