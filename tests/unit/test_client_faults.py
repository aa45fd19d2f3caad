"""What goes wrong between a client and its server, over real gRPC: errors, retries, deadlines, closing."""

import asyncio
import inspect
import pickle
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from grpc import StatusCode
from tritonclient.utils import InferenceServerException

from shelfbridge.client import AsyncSearchClient, AsyncShopperClient, SearchClient, SearchResult, ShopperClient, _base
from shelfbridge.client._base import BURST, SHARE, ask
from shelfbridge.contract import DEFAULT_K
from shelfbridge.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    InvalidQuery,
    Overloaded,
    PermissionRefused,
    SearchError,
    ServerFault,
)
from tests.unit.scripted_server import fails, found, reply, serve, slow

SHED = {
    "our own steps": (
        StatusCode.UNAVAILABLE,
        "in ensemble 'search', [request id: {id}] overloaded: more than 64 requests wait",
    ),
    "a full queue of Triton's": (
        StatusCode.UNAVAILABLE,
        "in ensemble 'search', [request id: {id}] Exceeds maximum queue size",
    ),
    "too long in a queue of Triton's": (StatusCode.UNAVAILABLE, "[request id: {id}] Request timeout expired"),
    "Envoy's circuit breaker": (
        StatusCode.UNAVAILABLE,
        "upstream connect error or disconnect/reset before headers. reset reason: overflow",
    ),
    "Envoy's overload manager": (StatusCode.UNAVAILABLE, "envoy overloaded"),
    "Envoy's rate limit": (StatusCode.UNAVAILABLE, "local_rate_limited"),
    "a quota": (StatusCode.RESOURCE_EXHAUSTED, "quota"),
}
"""What refuses a request to protect the others, in its own words."""
DOWN = fails(StatusCode.UNAVAILABLE, "Server exiting")
QUERY = "a secret wish"


@pytest.fixture(params=["threads", "event loop"])
def search(request):
    """One search with a client of its own: `search(address, client_settings, **arguments)`; both kinds of client."""

    def in_thread(address, settings, **arguments):
        with SearchClient(address, **settings) as client:
            return client.search(QUERY, **arguments)

    async def on_loop(address, settings, **arguments):
        async with AsyncSearchClient(address, **settings) as client:
            return await client.search(QUERY, **arguments)

    def on_new_loop(address, settings, **arguments):
        return asyncio.run(on_loop(address, settings, **arguments))

    return in_thread if request.param == "threads" else on_new_loop


@pytest.fixture
def dead_address():
    """An address that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(
    ("status", "words", "kind", "message"),
    [
        (StatusCode.INVALID_ARGUMENT, "in ensemble 'search', k is 0; ask for 1", InvalidQuery, "k is 0; ask for 1"),
        (StatusCode.UNAVAILABLE, "Server exiting", ConnectionFailed, r"no answer .*\(Server exiting\); check"),
        (StatusCode.UNAVAILABLE, "no healthy upstream", ConnectionFailed, "no answer"),
        (StatusCode.RESOURCE_EXHAUSTED, "Sent message larger than max (9 vs. 1)", InvalidQuery, "send less"),
        (StatusCode.UNAUTHENTICATED, "no token", PermissionRefused, r"refused the credentials \(no token\); give"),
        (StatusCode.PERMISSION_DENIED, "RBAC: access denied", PermissionRefused, "refused the credentials"),
        (StatusCode.NOT_FOUND, "Request for unknown model: 'search' is not found", ServerFault, "load a release"),
        (
            StatusCode.INTERNAL,
            "in ensemble 'search', KeyError; log",
            ServerFault,
            r"INTERNAL: KeyError; log\); its log",
        ),
        (StatusCode.UNKNOWN, "", ServerFault, "no reason given"),
        (StatusCode.CANCELLED, "gone", ConnectionFailed, "no answer"),
        (StatusCode.INTERNAL, "{braces}\nand lines", ServerFault, "{braces} and lines"),
    ],
)
def test_each_status_has_its_error(search, status, words, kind, message):
    with serve(fails(status, words)) as server, pytest.raises(kind, match=message) as caught:
        search(server.address, {"retries": 0}, request_id="r-1")
    assert type(caught.value) is kind
    assert str(caught.value).endswith("(request r-1)")
    assert caught.value.request_id == "r-1"
    assert "request id:" not in str(caught.value)
    assert QUERY not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(("status", "words"), SHED.values(), ids=SHED)
def test_what_was_shed_is_sent_once(search, status, words):
    with serve(fails(status, words), found) as server, pytest.raises(Overloaded, match=r"is overloaded .* try later"):
        search(server.address, {"retries": 5})
    assert len(server.seen) == 1


def test_tries_again_when_unavailable(search):
    with serve(DOWN, DOWN, found) as server:
        result = search(server.address, {}, k=2)
    assert len(result.hits) == 2
    assert result.attempts == len(server.seen) == 3
    assert len({seen.request.id for seen in server.seen}) == 1
    first, second, third = (seen.at for seen in server.seen)
    assert 0.02 < second - first < 1
    assert 0.045 < third - second < 1
    assert result.round_trip_ms > 65


def test_gives_up_after_the_retries(search):
    with serve(DOWN) as server, pytest.raises(ConnectionFailed):
        search(server.address, {"retries": 1})
    assert len(server.seen) == 2


def test_a_storm_of_failures_does_not_multiply_the_load():
    """All calls of a client share what it may send again, whatever thread or task they come from."""
    calls = 120

    def in_thread(client):
        with pytest.raises(ConnectionFailed):
            client.search(QUERY)

    async def on_loop(client):
        with pytest.raises(ConnectionFailed):
            await client.search(QUERY)

    async def storm(address):
        async with AsyncSearchClient(address, timeout=20) as client:
            await asyncio.gather(*(on_loop(client) for _ in range(calls)))

    with serve(DOWN) as server:
        with SearchClient(server.address, timeout=20) as client, ThreadPoolExecutor(8) as threads:
            list(threads.map(in_thread, [client] * calls))
        assert len(server.seen) == calls + BURST
        server.seen.clear()
        asyncio.run(storm(server.address))
        assert len(server.seen) == calls + BURST


def test_answers_earn_retries():
    """Where one request in two fails, one in ten of those that are answered is all that is added."""

    def every_second(seen, context):
        return (DOWN if len(server.seen) % 2 else found)(seen, context)

    asked, failed = 400, 0
    with serve(every_second) as server, SearchClient(server.address, retries=1) as client:
        for _ in range(asked):
            try:
                client.search(QUERY)
            except ConnectionFailed:
                failed += 1
        answered, retried = asked - failed, len(server.seen) - asked
    assert failed
    assert BURST < retried <= BURST + SHARE * answered + 1


@pytest.mark.parametrize("status", [code for code in StatusCode if code not in (StatusCode.OK, StatusCode.UNAVAILABLE)])
def test_nothing_else_is_tried_again(status):
    with serve(fails(status, "no")) as server, SearchClient(server.address) as client, pytest.raises(SearchError):
        client.search(QUERY)
    assert len(server.seen) == 1


def test_retries_stay_within_the_deadline(search):
    begun = time.monotonic()
    # the last attempt may have had too little time to be refused
    with serve(DOWN) as server, pytest.raises((ConnectionFailed, DeadlineExceeded)):
        search(server.address, {"retries": 50}, timeout=0.5)
    assert time.monotonic() - begun < 1
    assert 2 <= len(server.seen) <= 6
    left = [seen.time_left for seen in server.seen]
    assert left == sorted(left, reverse=True)
    assert left[0] < 0.6
    told = [seen.request.parameters["timeout"].int64_param for seen in server.seen]
    assert told == sorted(set(told), reverse=True)
    assert told == pytest.approx([1e6 * seconds for seconds in left], abs=1e5)  # one deadline, told in two ways


def test_does_not_pause_for_longer_than_is_left():
    client = SearchClient("here", timeout=0.02, retries=9)
    asked = ask(client, "search", [], str)
    next(asked)
    with pytest.raises(ConnectionFailed):
        asked.throw(InferenceServerException("Server exiting", "StatusCode.UNAVAILABLE"))
    # none was spent on it
    assert [client._budget.spend() for _ in range(BURST + 1)] == [True] * BURST + [False]


def test_asks_no_more_when_nothing_is_left(monkeypatch):
    monkeypatch.setattr(_base, "FIRST_PAUSE", 0.001)
    asked = ask(SearchClient("here", timeout=0.02, retries=9), "search", [], str)
    next(asked)
    assert 0 < asked.throw(InferenceServerException("Server exiting", "StatusCode.UNAVAILABLE")) < 0.02
    time.sleep(0.02)
    with pytest.raises(DeadlineExceeded):
        next(asked)


def test_the_deadline_is_one_for_all_attempts(search):
    begun = time.monotonic()
    with serve(DOWN, slow(5)) as server:
        with pytest.raises(DeadlineExceeded, match=r"within 0\.4 s; allow more"):
            search(server.address, {}, timeout=0.4)
        assert 0.35 < time.monotonic() - begun < 1
    assert len(server.seen) == 2


def test_the_server_learns_the_deadline(search):
    with serve() as server:
        search(server.address, {"timeout": 1.5})
    seen = server.seen[0]
    assert 1 < seen.time_left < 1.6  # gRPC rounds what is left up
    assert 1_000_000 < seen.request.parameters["timeout"].int64_param <= 1_500_000


def test_nobody_listens(search, dead_address):
    begun = time.monotonic()
    with pytest.raises(ConnectionFailed, match=r"Connection refused.*check the address"):
        search(dead_address, {})
    assert time.monotonic() - begun < 2


def test_nobody_answers(search):
    """A peer that takes connections and says nothing: the deadline holds."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            search(f"127.0.0.1:{mute.getsockname()[1]}", {}, timeout=0.3)
        assert time.monotonic() - begun < 1


def test_soon_finds_a_server_that_comes_back():
    """gRPC by itself would not look again for a second, and later for two minutes."""
    with serve() as server:
        client = SearchClient(server.address, retries=0)
        client.search(QUERY)
    with client:
        with pytest.raises(ConnectionFailed):
            client.search(QUERY)
        with serve(port=int(server.address.rpartition(":")[2])):
            until = time.monotonic() + 0.7
            while not client.ready():
                assert time.monotonic() < until
                time.sleep(0.01)
            assert client.search(QUERY).hits


def test_a_search_whose_server_dies_is_answered_by_the_next(search):
    with serve(slow(30)) as dying, ThreadPoolExecutor() as threads:
        task = threads.submit(search, dying.address, {"retries": 6, "timeout": 10})
        while not dying.seen:
            time.sleep(0.01)
        dying.stop().wait()
        with serve(port=int(dying.address.rpartition(":")[2])):
            result = task.result()
    assert result.hits
    assert result.attempts > 1


def test_both_clients_agree():
    assert inspect.signature(SearchClient) == inspect.signature(AsyncSearchClient)
    for one, other in ((SearchClient, AsyncSearchClient), (ShopperClient, AsyncShopperClient)):
        methods = {name for name, _ in inspect.getmembers(one, inspect.isfunction) if not name.startswith("_")}
        assert methods >= {"close", "ready"}
        for name in methods:
            its, theirs = getattr(one, name), getattr(other, name)
            assert inspect.signature(its) == inspect.signature(theirs), name
            assert inspect.iscoroutinefunction(theirs), name
    asked = inspect.signature(SearchClient.search)
    assert asked.parameters["k"].default == DEFAULT_K
    assert asked.return_annotation is SearchResult

    async def on_loop(address):
        async with AsyncSearchClient(address) as client:
            return await client.search(QUERY, k=5, request_id="r")

    with serve() as server, SearchClient(server.address) as client:
        one, other = client.search(QUERY, k=5, request_id="r"), asyncio.run(on_loop(server.address))
    assert replace(one, round_trip_ms=0) == replace(other, round_trip_ms=0)
    assert server.seen[0].inputs == server.seen[1].inputs


def test_a_large_answer_arrives():
    large = reply("search", ["P1"], payload=['{"title": "' + "x" * 8_000_000 + '"}'])
    with serve(lambda seen, context: large) as server, SearchClient(server.address, timeout=10) as client:
        hit = client.search(QUERY).hits[0]
    assert hit.product is not None
    assert len(hit.product["title"]) == 8_000_000
