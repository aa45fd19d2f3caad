"""Queries, load loops and what they cost: the measuring itself, against servers whose behaviour is known."""

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from aiohttp import web

from loadtests import load as generator
from loadtests import usage
from loadtests.callers import caller
from loadtests.load import LEAST, Load, answered, arrivals, closed, opened
from loadtests.queries import QueryStream, words_of
from shelfbridge.catalogue import Catalogue, Product
from shelfbridge.errors import DataError, Overloaded

TEXTS = ["red tent", "blue lamp", "tent"]
WORDS = [f"word{number}" for number in range(4000)] + ["tent"]


class Fake:
    """A server that answers after a while, one search at a time, and fails on some queries."""

    def __init__(self, seconds: float = 0.0, stall: float = 0.0) -> None:
        self.seconds, self.until = seconds, time.perf_counter() + stall
        self.turn = asyncio.Lock()
        self.seen: list[str] = []

    async def search(self, query: str, k: int) -> list[str]:
        self.seen.append(query)
        async with self.turn:
            await asyncio.sleep(max(self.seconds, self.until - time.perf_counter()))
        if "bad" in query:
            raise Overloaded("too much", request_id=f"r{len(self.seen)}")
        return ["a"]


def load(**more) -> Load:
    return Load(**({"caller": {}, "pid": os.getpid(), "queries": ["q"] * 5000, "warmup": 0.0} | more))


def test_cold_queries_never_repeat_and_are_none_of_the_pool():
    stream = QueryStream(TEXTS, WORDS)
    cold = stream.cold(3000) + stream.cold(2000)
    assert len(set(cold) | set(stream.pool)) == len(cold) + len(stream.pool) == 10_000


def test_a_query_gets_no_word_that_it_has():
    stream = QueryStream(["tent"], ["tent", "red"])
    assert stream.pool == ["tent", "tent red"]


def test_every_stream_gives_the_same_queries():
    one, other = QueryStream(TEXTS, WORDS), QueryStream(reversed(TEXTS), WORDS)
    assert one.pool == other.pool
    assert one.cold(100) == other.cold(100)


def test_too_many_cold_queries_are_refused():
    with pytest.raises(DataError, match=r"1 more are needed, .* make 0; give fewer --searches"):
        QueryStream(["tent"], ["red"]).cold(1)


def test_queries_that_were_not_used_come_again_in_their_order():
    stream, same = QueryStream(TEXTS, WORDS), QueryStream(TEXTS, WORDS)
    stream.give_back(stream.up_to(10)[4:])
    assert stream.cold(10) == same.cold(14)[4:]


def test_zipf_queries_come_as_often_as_their_rank_says():
    stream = QueryStream(TEXTS, WORDS)
    drawn = Counter(stream.zipf(50_000, seed=1))
    first, tenth = drawn[stream.pool[0]], drawn[stream.pool[9]]
    assert first / 50_000 == pytest.approx(1 / sum(1 / r for r in range(1, len(stream.pool) + 1)), rel=0.05)
    assert first / tenth == pytest.approx(10, rel=0.2)
    assert stream.zipf(100, seed=1) != stream.zipf(100, seed=2)


def test_words_are_those_of_names_and_hold_letters_only():
    product = Product(product_id="1", title="Tent XL-200 Größe", brand="Acme", description="roomy")
    assert sorted(words_of(Catalogue((product,)))) == ["acme", "größe", "tent"]


async def test_a_closed_loop_measures_what_the_server_does():
    server = Fake(seconds=0.01)
    sample = await closed(server, load(clients=4, seconds=0.6))
    assert len(sample.latencies_ms) / sample.seconds == pytest.approx(100, rel=0.25)
    assert np.median(sample.latencies_ms) == pytest.approx(40, rel=0.3)


async def test_a_closed_loop_ends_after_its_searches():
    sample = await closed(Fake(seconds=0.001), load(clients=2, searches=20, seconds=60))
    assert 20 <= len(sample.latencies_ms) <= 21


class Bursts:
    """A server that answers all that wait at a time, 50 ms after the first of them has come."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Event] = []

    async def search(self, query: str, k: int) -> list[str]:
        self.waiting.append(event := asyncio.Event())
        if len(self.waiting) == 1:
            asyncio.get_running_loop().call_later(0.05, self.answer)
        await event.wait()
        return []

    def answer(self) -> None:
        waiting, self.waiting = self.waiting, []
        for event in waiting:
            event.set()


async def test_a_server_that_answers_in_bursts_is_measured_rightly():
    sample = await closed(Bursts(), load(clients=4, seconds=0.12))
    assert len(sample.latencies_ms) / sample.seconds == pytest.approx(80, rel=0.1)


async def test_a_closed_loop_counts_nothing_of_its_warm_up():
    server = Fake(seconds=0.005)
    sample = await closed(server, load(clients=2, seconds=0.2, warmup=0.8))
    assert len(sample.latencies_ms) < len(server.seen) * 0.6
    assert sample.asked == len(server.seen)


async def test_a_closed_loop_counts_enough_for_its_tail_where_its_server_is_slow(monkeypatch):
    assert len((await closed(Fake(seconds=0.002), load(clients=4, seconds=0.05))).latencies_ms) >= LEAST
    monkeypatch.setattr(generator, "LONGEST_S", 0.2)
    sample = await closed(Fake(seconds=0.02), load(clients=4, seconds=0.1))
    assert 4 <= len(sample.latencies_ms) < LEAST
    assert len(sample.latencies_ms) % 4 == 0


async def test_failed_searches_are_counted_apart():
    sample = await closed(Fake(seconds=0.001), load(clients=1, queries=["good", "bad"] * 30, seconds=60))
    assert sample.errors == {"Overloaded: too much": 30}
    assert len(sample.latencies_ms) == 29


async def test_an_open_loop_counts_the_wait_that_a_stall_causes():
    sample = await opened(Fake(stall=0.4), load(rate=100, seconds=0.6))
    late = np.array(sample.latencies_ms)
    assert late.max() > 350
    assert (late > 100).sum() > 15
    assert np.median(late[-10:]) < 100


async def test_an_open_loop_does_not_wait_for_answers():
    server = Fake(seconds=0.05)
    sample = await opened(server, load(rate=100, seconds=0.5))
    assert len(server.seen) == len(sample.latencies_ms) > 30
    assert sample.seconds > 1.5


async def test_an_open_loop_says_what_it_sent():
    sample = await opened(Fake(), load(rate=200, seconds=0.5, seed=4))
    due = list(arrivals(load(rate=200, seconds=0.5, seed=4)))
    assert sample.sent_per_second == len(due) / 0.5
    assert sample.asked == len(due)


async def test_a_judged_query_that_fails_has_an_empty_answer():
    sample = await answered(Fake(), load(queries=["good", "bad", "good"]))
    assert sample.answers == [["a"], [], ["a"]]
    assert sample.errors == {"Overloaded: too much": 1}


def test_arrivals_are_a_poisson_process_of_the_rate():
    due = np.array(list(arrivals(load(rate=1000.0, seconds=20.0, seed=3))))
    gaps = np.diff(due)
    assert len(due) == pytest.approx(20_000, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert due.max() < 20


def test_the_cost_of_a_process_holds_its_children():
    burn = "import time\nwhile time.process_time() < 0.4: pass\nprint('done', flush=True)\ntime.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pids = [one.pid for one in usage.processes(process.pid)]
        assert len(pids) == 2
        assert sum(usage.cpu_seconds(process.pid).values()) >= 0.35
        assert usage.resident_bytes(process.pid) > 2 * 2**20
        for pid in reversed(pids):
            os.kill(pid, 9)


def test_a_process_that_ended_costs_nothing():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert usage.cpu_seconds(process.pid) == {}
    assert usage.resident_bytes(process.pid) == 0


@pytest.fixture
async def peer(tmp_path):
    """The address of a peer that embeds by the first letter and prefers the longer text, and its shop's folder."""
    np.save(tmp_path / "vectors.npy", np.eye(3, dtype=np.float32))
    (tmp_path / "products.json").write_text(
        json.dumps({"ids": ["a", "b", "c"], "texts": ["long one", "x", "longer one"]})
    )

    async def embed(request: web.Request) -> web.Response:
        body = await request.json()
        vector = np.eye(3, dtype=np.float32)["abc".index(body["input"][0][0])]
        return web.json_response({"data": [{"embedding": base64.b64encode(vector.tobytes()).decode()}]})

    async def rerank(request: web.Request) -> web.Response:
        body = await request.json()
        order = sorted(range(len(body["documents"])), key=lambda place: -len(body["documents"][place]))
        return web.json_response({"results": [{"index": place} for place in order[: body["top_n"]]]})

    async def search(request: web.Request) -> web.Response:
        body = await request.json()
        return web.json_response([body["query"]] * body["k"])

    application = web.Application()
    application.add_routes([web.post("/embeddings", embed), web.post("/rerank", rerank), web.post("/search", search)])
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", tmp_path
    await runner.cleanup()


async def test_every_failure_counts_however_many_kinds_there_are():
    class Odd:
        async def search(self, query: str, k: int) -> list[str]:
            raise Overloaded(f"too much of {query}")

    sample = await answered(Odd(), load(queries=[f"q{number}" for number in range(9)]))
    assert (len(sample.errors), sample.errors["others"], sample.failed) == (6, 4, 9)


async def test_infinity_embeds_searches_and_reranks(peer):
    address, shop = peer
    async with caller({"kind": "infinity", "address": address, "shop": str(shop), "candidates": 3}) as asked:
        assert await asked.search("b", 2) == ["c", "a"]
    async with caller({"kind": "infinity", "address": address, "shop": str(shop), "candidates": 1}) as asked:
        assert await asked.search("b", 2) == ["b"]


async def test_a_service_is_asked_once(peer):
    address, _ = peer
    async with caller({"kind": "service", "address": address}) as asked:
        assert await asked.search("boots", 2) == ["boots", "boots"]
