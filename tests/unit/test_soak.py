"""A soak asks for everything, sees what grows, and says so."""

import asyncio
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
from grpc import StatusCode
from rich.console import Console
from scipy import stats

from build.progress import progress
from deploy.embedded.wheel import SHARED_MEMORY_FOLDER, shared_memory_prefix
from loadtests.soak import __main__ as program
from loadtests.soak import report
from loadtests.soak.requests import ANSWERED, MALFORMED, REFUSED, Request, Sender, requests
from loadtests.soak.verdict import Look, judge, look, trend
from loadtests.usage import memory
from shelfbridge.contract import DEFAULT_K
from shelfbridge.errors import InvalidQuery
from shelfbridge.measure.report import picture
from shelfbridge.request import Filters, check_k
from shelfbridge.text import check_query
from tests.unit.scripted_server import fails, found, serve

QUERIES = [f"boots number {number}" for number in range(4000)]
LIMIT = 32.0


def looks(grows=0.0, noise=0.2e6, **more):
    """250 looks over 100,000 searches at a process that grows by `grows` MB, after settling for a tenth of them."""
    random = np.random.default_rng(1)
    rows = []
    for number in range(1, 251):
        searches = number * 400
        held = (
            500e6 + 60e6 * min(1.0, searches / 10_000) + grows * 1e6 * searches / 1e5 + noise * random.standard_normal()
        )
        counts = {"descriptors": 100, "threads": 50, "shared_memory": 1 << 20}
        counts |= {name: value(searches) for name, value in more.items()}
        rows.append(Look(searches, number * 2.0, {"retrieve": int(held)}, {"retrieve": int(held)}, **counts))
    return rows


def test_a_line_is_found_with_its_interval():
    searches = np.arange(1, 201) * 500.0
    held = 1e9 + 40e6 * searches / 1e5 + 1e6 * np.random.default_rng(0).standard_normal(200)
    found = trend(searches, held)
    assert found.low < 40 < found.high
    assert found.high - found.low < 3


def test_the_interval_is_wider_where_memory_keeps_its_level():
    searches = np.arange(1, 201) * 500.0
    held = 1e9 + np.cumsum(1e6 * np.random.default_rng(0).standard_normal(200))
    found, fit = trend(searches, held), stats.linregress(searches, held)
    assert found.high - found.low > 4 * (2 * 1.97 * fit.stderr * 0.1)


def test_what_never_changes_has_no_trend():
    found = trend(np.arange(10.0), np.full(10, 7.0))
    assert (found.slope, found.low, found.high) == (0, 0, 0)


def test_memory_that_settles_and_stays_is_flat():
    verdict = judge(looks(), {}, LIMIT)
    assert verdict.flat, verdict.complaints
    assert abs(verdict.private.slope) < 1


def test_a_leak_is_seen():
    verdict = judge(looks(grows=100.0), {}, LIMIT)
    assert not verdict.flat
    assert verdict.by_part["retrieve"].slope == pytest.approx(100, rel=0.05)
    assert "private memory grows by" in verdict.complaints[0]


def test_a_trend_that_could_be_a_leak_is_not_called_flat():
    verdict = judge(looks(noise=300e6), {}, LIMIT)
    assert verdict.complaints == [
        "the trend of private memory is too uncertain to be called flat; give more --searches"
    ]


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        (
            "shared_memory",
            lambda searches: (1 << 20) + (4096 if searches > 90_000 else 0),
            "/dev/shm grew by 4,096 bytes",
        ),
        ("descriptors", lambda searches: 100 + searches // 1000, "descriptors grew from"),
        ("threads", lambda searches: 50 + searches // 10_000, "threads grew from"),
    ],
)
def test_whatever_else_grows_is_a_complaint(name, value, complaint):
    verdict = judge(looks(**{name: value}), {}, LIMIT)
    assert not verdict.flat
    assert complaint in verdict.complaints[0]


def test_shared_memory_may_grow_while_it_settles():
    assert judge(looks(shared_memory=lambda searches: min(searches, 15_000)), {}, LIMIT).flat


def test_a_search_that_ended_otherwise_than_it_should_spoils_the_verdict():
    assert judge(looks(), {"plain: Overloaded instead of answered": 3}, LIMIT).complaints == [
        "3 x plain: Overloaded instead of answered"
    ]


def test_a_process_is_seen_to_grow(tmp_path):
    before = look(os.getpid(), tmp_path, 1)
    kept = np.ones(40 << 20, np.uint8)
    after = look(os.getpid(), tmp_path, 2)
    grown = sum(after.private_dirty.values()) - sum(before.private_dirty.values())
    assert len(kept) * 0.9 < grown < len(kept) * 1.5
    assert after.descriptors > 2
    assert after.threads > 0
    assert memory(os.getpid())["Pss"] > 0


def test_shared_memory_of_this_server_alone_counts(tmp_path):
    own = SHARED_MEMORY_FOLDER / f"{shared_memory_prefix(tmp_path)}region"
    other = SHARED_MEMORY_FOLDER / f"{shared_memory_prefix(tmp_path / 'other')}region"
    try:
        own.write_bytes(bytes(5000))
        other.write_bytes(bytes(7000))
        assert look(os.getpid(), tmp_path, 1).shared_memory == 5000
    finally:
        own.unlink()
        other.unlink()


def test_requests_are_the_same_every_time_and_of_every_kind():
    asked = list(requests(QUERIES))
    assert asked == list(requests(QUERIES))
    assert len(asked) == len(QUERIES)
    assert {"plain", "filtered", "long", "other script", "not UTF-8", "blank"} <= {one.kind for one in asked}
    malformed = sum(one.ending == REFUSED for one in asked) / len(asked)
    assert malformed == pytest.approx(MALFORMED, abs=0.01)


def test_no_good_query_comes_twice():
    texts = [one.arguments["query"] for one in requests(QUERIES) if one.ending == ANSWERED]
    assert len(set(texts)) == len(texts)


def check(request: Request) -> None:
    """Refuse a request as the server's first step does."""
    check_query(request.arguments["query"].encode())
    check_k(request.arguments.get("k", DEFAULT_K))
    Filters.parse(json.dumps(request.arguments.get("filters", {})).encode())


def test_the_malformed_ones_are_refused_and_the_good_ones_are_not():
    for request in requests(QUERIES):
        if request.raw:
            continue
        if request.ending == REFUSED:
            with pytest.raises(InvalidQuery):
                check(request)
        else:
            check(request)


async def send(address: str, request: Request) -> str:
    async with Sender(address, deep=False) as sender:
        return await sender.send(request)


@pytest.mark.parametrize(
    ("answer", "ending"),
    [
        (found, ANSWERED),
        (fails(StatusCode.INVALID_ARGUMENT, "query is not UTF-8"), REFUSED),
        (fails(StatusCode.UNAVAILABLE, "[request id: {id}] overloaded: more than 64 requests wait"), "Overloaded"),
    ],
)
async def test_the_sender_says_how_a_search_ended(answer, ending):
    with serve(answer) as server:
        assert await send(server.address, Request("plain", {"query": "boots"})) == ending


async def test_raw_strings_arrive_as_they_are():
    with serve(fails(StatusCode.INVALID_ARGUMENT, "query is not UTF-8")) as server:
        assert await send(server.address, Request("not UTF-8", raw=(b"\xff",), ending=REFUSED)) == REFUSED
        (seen,) = server.seen
    assert seen.inputs["query"] == ("BYTES", [1, 1], b"\xff")


@pytest.fixture
def sent(monkeypatch):
    """What a soak sends, to a server that is this process."""
    asked = []

    class Fake:
        def __init__(self, address, deep):
            assert (address, deep) == ("here", False)

        async def send(self, request):
            await asyncio.sleep(0)
            asked.append(request)
            return "Overloaded" if request.kind == "long" else request.ending

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            return None

    monkeypatch.setattr(program, "Sender", Fake)
    monkeypatch.setattr(program, "LOOKS", 10)
    monkeypatch.setattr(program, "pid_of", lambda server: os.getpid())
    return asked


def soaked(asked, run_dir):
    options = SimpleNamespace(searches=len(asked), clients=4, deep=False)
    server = SimpleNamespace(address="here", settings=SimpleNamespace(run_dir=run_dir))
    with progress(Console(quiet=True)) as bar:
        return asyncio.run(program.soaked(server, iter(asked), options, bar))


def test_a_soak_sends_every_request_once_and_counts_what_ended_wrong(sent, tmp_path):
    asked = list(requests(QUERIES[:500]))
    seen, wrong = soaked(asked, tmp_path)
    assert sorted(map(repr, sent)) == sorted(map(repr, asked))
    assert wrong == {"long: Overloaded instead of answered": sum(one.kind == "long" for one in asked)}
    assert [one.searches for one in seen] == list(range(0, 550, 50))


def test_a_soak_ends_with_its_server_which_is_a_complaint(sent, tmp_path, monkeypatch):
    dead = Look(0, 0.0, {}, {}, 0, 0, 0)
    monkeypatch.setattr(program, "look", lambda pid, folder, done: dead if done else looks()[0])
    seen, wrong = soaked(list(requests(QUERIES[:500])), tmp_path)
    assert len(seen) == 1
    assert len(sent) < 100
    assert judge(seen, wrong, LIMIT, "the server died").complaints[0] == "the server died"


def test_the_report_has_the_verdict_and_every_part(tmp_path):
    seen = looks(grows=100.0)
    record = {
        "searches": 100_000,
        "clients": 8,
        "deep": False,
        "limit_mb": LIMIT,
        "verdict": {**vars(judge(seen, {}, LIMIT))},
        "looks": [vars(one) for one in seen],
    }
    record["verdict"]["private"], record["verdict"]["pss"] = (vars(record["verdict"][n]) for n in ("private", "pss"))
    record["verdict"]["by_part"] = {name: vars(one) for name, one in record["verdict"]["by_part"].items()}
    text = report.table(record)
    picture(tmp_path / "soak.png", lambda figure: report.draw(figure, record), (12, 4.2))
    assert text.startswith("**Not flat** over 100,000 searches (search, 8 at a time, 200 a second)")
    assert "| retrieve |" in text
    assert "- private memory grows by" in text
    assert (tmp_path / "soak.png").stat().st_size > 10_000
