"""What is made of a run's requests: joined with the gateway's lines, added up by phase, judged and shown."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from loadtests.hybrid import compare, report
from loadtests.hybrid.answers import NOWHERE, join, lines, rows
from loadtests.hybrid.faults import Failure
from loadtests.hybrid.load import START as BEGUN
from loadtests.hybrid.load import Row
from loadtests.hybrid.measured import TAIL, latency, measured, verdict
from loadtests.hybrid.scenarios import WARM_UP_S, scenario
from loadtests.program import reason
from loadtests.slo import Slo
from shelfbridge.errors import DataError, Overloaded

START = 1000.0


def row(number: int, at: float, kind: str = "search", took: float = 10.0, error: str = "") -> Row:
    return Row(START + at, kind, took, f"id-{number}", error, "words" if error else "", {"encoder": 2.0, "ranker": 1.0})


Line = tuple[str, float, float]
"""Site, and the milliseconds that a request took at the gateway and beyond it."""


def line(site: str = "private") -> Line:
    return site, 8.0, 7.0


def joined(sent: list[Row], known: dict[str, Line]) -> pd.DataFrame:
    told = [(number, *of, 500) for number, of in known.items()]
    columns = ["id", "site", "took_ms", "beyond_ms", "bytes"]
    return join(pd.DataFrame(sent, columns=Row._fields), pd.DataFrame(told, columns=columns))


def record(sent: list[Row], known: dict[str, Line], *, failure: Failure | None = None, **others: Any) -> dict[str, Any]:
    run = scenario("site_killed", 10, 40) if failure else scenario("steady", 10, 10)
    return {
        "name": "steady hybrid",
        "about": run.about,
        "mode": "hybrid",
        "machine": {"cores": 2, "processor": "one"},
        "wan": "none",
        "start": START,
        "failure": vars(failure) if failure else None,
        "counted": {"private": {}, "public": {}},
        **measured(joined(sent, known), START, run, failure),
        **others,
    }


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    given = [row(1, 0.5), row(2, 0.7, error="Overloaded")]
    written = [json.dumps({BEGUN: START}), *(json.dumps(one) for one in given)]
    (tmp_path / "rows.jsonl").write_text("\n".join(written))
    start, found = rows(tmp_path / "rows.jsonl")
    assert start == START
    assert [Row(*one) for one in found.to_numpy()] == given


class TestLines:
    def test_only_what_came_after_the_place_and_is_whole(self, tmp_path: Path) -> None:
        file = tmp_path / "audit.jsonl"
        file.write_text(json.dumps({"request_id": "old", "site": "private"}) + "\n")
        offset = file.stat().st_size
        told = {"request_id": "a", "site": "public", "took_us": 9000, "upstream_us": 8000, "attempts": 2, "bytes": 77}
        with file.open("a") as opened:
            opened.write(f"{json.dumps(told)}\n{json.dumps({'request_id': 'b', 'site': 'any'})}\n{{cut")
        found = lines(file, offset)
        assert found.to_numpy().tolist() == [["a", "public", 9.0, 8.0, 77], ["b", NOWHERE, 0.0, 0.0, 0]]

    def test_a_requests_parts_are_all_of_its_time(self) -> None:
        (answer,) = joined([row(1, 5)], {"id-1": line()}).to_dict("records")
        assert {part: answer[part] for part in ("client", "gateway", "beyond", "in_steps")} == {
            "client": 2.0, "gateway": 1.0, "beyond": 4.0, "in_steps": 3.0
        }  # fmt: skip
        assert answer["steps"] == {"encoder": 2.0, "ranker": 1.0}

    def test_without_a_line_a_request_was_nowhere(self) -> None:
        (answer,) = joined([row(1, 5)], {}).to_dict("records")
        assert answer["site"] == NOWHERE
        assert np.isnan(answer["client"])


class TestLatency:
    def test_percentiles_are_times_that_so_many_do_not_exceed(self) -> None:
        found = latency([float(n) for n in range(1, 1001)])
        assert found == {"count": 1000, "p50": 500.0, "p95": 950.0, "p99": 990.0, "p99.9": 1000.0, "max": 1000.0}

    def test_nothing_has_none(self) -> None:
        assert latency([]) == {"count": 0} | dict.fromkeys(("p50", "p95", "p99", "p99.9", "max"))

    def test_the_tail_goes_to_four_nines(self) -> None:
        assert TAIL[0] == 0
        assert TAIL[-1] == pytest.approx(99.99)


class TestMeasured:
    def test_the_warm_up_does_not_count(self) -> None:
        found = record([row(1, 1), row(2, WARM_UP_S + 1)], {"id-1": line(), "id-2": line()})
        assert (found["requests"], found["warm_up"]) == (1, 1)
        assert found["rate"] == pytest.approx(0.1)

    def test_the_record_can_be_written(self) -> None:
        found = record([row(1, 5), row(2, 5, error="Overloaded")], {"id-1": line()})
        assert json.loads(json.dumps(found)) == found

    def test_where_nothing_is_answered_no_promise_is_kept(self) -> None:
        found = record([row(1, 5, error="Overloaded")], {})
        assert found["latency"] == {"all": latency([])}
        assert not verdict(found, [Slo("all", "p99", 150.0)])["rows"][0]["kept"]

    def test_the_bursts_share_is_of_what_may_burst(self) -> None:
        rows = [row(1, 5), row(2, 5), row(3, 5, "recommend"), row(4, 5, "events")]
        known = {"id-1": line(), "id-2": line("public"), "id-3": line(), "id-4": line()}
        assert record(rows, known)["burst_share"] == 0.5

    def test_errors_are_one_by_cause_not_by_request(self) -> None:
        words = [reason(Overloaded("full", request_id=f"{n:032x}")) for n in range(5)]
        rows = [row(n, 5, error="Overloaded")._replace(words=words[n]) for n in range(5)]
        (error,) = record([*rows, row(9, 5)], {"id-9": line()})["errors"]
        assert (error["count"], error["words"]) == (5, "full")

    def test_failed_requests_are_told_apart_and_have_no_latency(self) -> None:
        rows = [row(1, 5), row(2, 5, took=900, error="Overloaded"), row(3, 5, "events", error="ConnectionFailed")]
        found = record(rows, {"id-1": line()})
        assert found["failed"] == {"restricted": 1, "unrestricted": 1}
        assert found["latency"]["all"]["max"] == pytest.approx(10, rel=0.01)
        assert {(error["error"], error["count"]) for error in found["errors"]} == {
            ("Overloaded", 1),
            ("ConnectionFailed", 1),
        }

    def test_the_way_to_a_site_and_the_wait_there(self) -> None:
        rows = [row(n, 5) for n in range(200)]
        known = {f"id-{n}": ("private", 8.0, 4.0 + (n >= 100)) for n in range(200)}
        where = {part["part"]: part for part in record(rows, known)["where"]}
        assert where["network"]["p50"] == pytest.approx(1.0, rel=0.01)
        assert where["queue"]["p99"] == pytest.approx(1.0, rel=0.02)

    def test_what_callers_saw_of_a_failure(self) -> None:
        failure = Failure("kill", "private", begun=START + 15, ready=START + 25)
        rows = [
            row(1, 10, took=30),
            row(2, 14.95, took=150),  # under way when it came
            row(3, 16, took=40),
            row(4, 21, took=120),  # while the site starts again
            row(5, 26, took=20),
            row(6, 16, "events", error="ConnectionFailed"),
        ]
        known = {"id-1": line(), "id-2": line("public"), "id-3": line("public"), "id-4": line("public"), "id-5": line()}
        found = record(rows, known, failure=failure)
        assert found["failover"]["worst_ms"] == 150
        assert found["failover"]["worst_before_ms"] == 30
        assert found["failover"]["failback_s"] == pytest.approx(1.02)
        phases = {(group["phase"], group["kind"]): group["failed"] for group in found["groups"]}
        assert phases == {
            ("before", "search"): 0,
            ("down", "search"): 0,
            ("after", "search"): 0,
            ("down", "events"): 1,
        }


class TestVerdict:
    def rows(self, **others: Any) -> dict[str, bool]:
        found = record([row(1, 5, took=100)], {"id-1": line()}, **others)
        judged = verdict(found, [Slo("all", "p99", 150.0), Slo("search", "p50", 50.0), Slo("events", "p50", 50.0)])
        assert judged["kept"] == all(each["kept"] for each in judged["rows"])
        return {each["what"]: each["kept"] for each in judged["rows"]}

    def test_latency_is_held_against_every_promise(self) -> None:
        kept = self.rows()
        assert kept["p99 of all, ms"]
        assert not kept["p50 of search, ms"]
        assert not kept["p50 of events, ms"]  # none was measured

    def test_one_restricted_request_at_the_public_site_is_too_many(self) -> None:
        name = "restricted requests at the public site, by its own counters"
        assert self.rows(counted={"public": {"search": 9}})[name]
        assert not self.rows(counted={"public": {"search": 9, "recommend": 1}})[name]

    def test_what_is_restricted_may_fail_and_nothing_else(self) -> None:
        name = "unrestricted requests that failed"
        assert self.rows(failed={"restricted": 3, "unrestricted": 0})[name]
        assert not self.rows(failed={"restricted": 0, "unrestricted": 1})[name]


class TestSlo:
    def test_of_all_or_of_one_kind(self) -> None:
        assert Slo.parse("p99=150ms") == Slo("all", "p99", 150.0)
        assert Slo.parse("search:p99.9=0.2s") == Slo("search", "p99.9", 200.0)
        assert str(Slo.parse("search:p95=80ms")) == "search:p95=80ms"

    @pytest.mark.parametrize("text", ["", "p99", "p42=1ms", "p99=0ms", "p99=150", "p99=-3ms"])
    def test_another_form_is_refused(self, text: str) -> None:
        with pytest.raises(argparse.ArgumentTypeError, match="p99=150ms"):
            Slo.parse(text)


class TestReport:
    def test_the_parts_of_a_request_stand_beside_each_other(self, tmp_path: Path) -> None:
        report.write(tmp_path, self.made(20))
        text = (tmp_path / "run.md").read_text()
        for part in ("client | 12 | 12", "gateway | 1 | 1", "network | 4 | 4", "queue | 0 | 0", "encoder | 2 | 2"):
            assert f"| private | search | {part} |" in text

    def made(self, took: float) -> dict[str, Any]:
        found = record([row(n, 5, took=took) for n in range(10)], {f"id-{n}": line() for n in range(10)})
        return {**found, "verdict": verdict(found, [Slo("all", "p99", 50.0)])}

    def test_a_run_is_written_and_its_page_needs_nothing_beside_it(self, tmp_path: Path) -> None:
        report.write(tmp_path, self.made(20))
        page = (tmp_path / "run.html").read_text()
        assert "promises kept" in page
        assert 'src="data:image/png;base64,' in page
        assert (tmp_path / "run.png").stat().st_size > 10_000
        assert "By phase" not in report.summary(self.made(20))

    def test_two_runs_are_compared_by_ratio(self, tmp_path: Path) -> None:
        for name, took in (("first", 20.0), ("second", 60.0)):
            report.write(tmp_path / name, self.made(took))
        first, second = (compare.load(tmp_path / name) for name in ("first", "second"))
        compare.compare(first, second, tmp_path)
        rows = json.loads((tmp_path / "comparison.json").read_text())["latency"]
        assert {round(each["ratio"], 1) for each in rows} == {3.0}
        assert "promises missed" in (tmp_path / "comparison.html").read_text()

    @pytest.mark.parametrize("text", ["{}", "no JSON"])
    def test_what_is_no_run_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(DataError, match="is no record of a run"):
            compare.load(tmp_path)
