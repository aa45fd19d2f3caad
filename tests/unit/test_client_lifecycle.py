"""A client from its making to its closing: settings, readiness, sharing, cancelling."""

import asyncio
import threading
import time

import pytest

from shelfbridge.client import TLS, AsyncSearchClient, Connection, SearchClient
from shelfbridge.errors import ConnectionFailed, SettingsError
from tests.unit.scripted_server import found, serve, slow

QUERY = "boots"
DEAD = "127.0.0.1:1"


def test_ready():
    with serve() as server, SearchClient(server.address) as client:
        assert client.ready()
        assert client.ready(deep=True)
        server.ready = False
        assert not client.ready()
        assert server.asked_ready == ["search", "search_deep", "search"]


async def test_ready_on_a_loop():
    with serve() as server:
        async with AsyncSearchClient(server.address) as client:
            assert await client.ready()
            server.ready = False
            assert not await client.ready()
    async with AsyncSearchClient(DEAD) as client:
        assert not await client.ready(timeout=1)


def test_closing_ends_searches_under_way():
    with serve(slow(30)) as server:
        client = SearchClient(server.address, timeout=5)
        caught = []

        def search():
            try:
                client.search(QUERY)
            except ConnectionFailed as error:
                caught.append(str(error))

        thread = threading.Thread(target=search)
        thread.start()
        while not server.seen:
            time.sleep(0.01)
        client.close()
        client.close()
        thread.join(timeout=2)
    assert "was closed; make a new one" in caught[0]
    with pytest.raises(ConnectionFailed, match="was closed"):
        client.search(QUERY)


async def _under_way(server, client):
    task = asyncio.create_task(client.search(QUERY))
    while not server.seen:
        await asyncio.sleep(0.01)
    return task


async def test_closing_ends_searches_of_a_loop():
    with serve(slow(30)) as server:
        client = AsyncSearchClient(server.address, timeout=5)
        task = await _under_way(server, client)
        await client.close()
        await client.close()
        with pytest.raises(ConnectionFailed, match="was closed"):
            await task
        with pytest.raises(ConnectionFailed, match="was closed"):
            await client.ready()


async def test_cancelling_a_task_is_not_an_error_of_ours():
    with serve(slow(30), found) as server:
        async with AsyncSearchClient(server.address, timeout=5) as client:
            task = await _under_way(server, client)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await client.search(QUERY)).hits


def test_an_async_client_can_be_made_before_the_loop_and_never_used():
    asyncio.run(AsyncSearchClient("localhost:1").close())


def test_threads_share_a_client():
    with serve() as server, SearchClient(server.address, timeout=10) as client:
        sizes = {}

        def search(k):
            sizes[k] = [len(client.search(QUERY, k=k).hits) for _ in range(10)]

        threads = [threading.Thread(target=search, args=(k,)) for k in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sizes == {k: [k] * 10 for k in range(1, 9)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"address": ""}, "host:port"),
        ({"address": "http://localhost:8000"}, "host:port"),
        ({"timeout": 0}, "timeout is 0; give seconds"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"timeout": "2"}, "timeout is '2'"),
        ({"retries": -1}, "retries is -1"),
        ({"token": "two words"}, "token: not one word"),
        ({"token": ""}, "token: not one word"),
    ],
)
def test_refuses_settings(settings, message):
    for kind in (SearchClient, AsyncSearchClient):
        with pytest.raises(SettingsError, match=message) as caught:
            kind(**settings)
        assert "two words" not in str(caught.value)


def test_refuses_a_timeout_of_a_search():
    with SearchClient("localhost:1") as client, pytest.raises(SettingsError, match="timeout is -1"):
        client.search(QUERY, timeout=-1)
    with pytest.raises(SettingsError, match="keepalive_s"):
        Connection(keepalive_s=0)


def test_tls_files_are_looked_at_first(tmp_path):
    with pytest.raises(SettingsError, match=r"root certificates .*no\.pem: No such file.*give the path"):
        SearchClient(tls=TLS(root=tmp_path / "no.pem"))
    (tmp_path / "der").write_bytes(b"\x30\x82")
    with pytest.raises(SettingsError, match="not PEM"):
        SearchClient(tls=TLS(root=tmp_path / "der"))
    with pytest.raises(SettingsError, match="go together"):
        SearchClient(tls=TLS(certificate=tmp_path / "der"))


def test_a_call_that_begins_as_the_client_is_closed():
    with serve() as server:
        client = SearchClient(server.address)
        infer = client._triton.infer

        def closed_meanwhile(**arguments):
            client.close()
            return infer(**arguments)

        client._triton.infer = closed_meanwhile
        with pytest.raises(ConnectionFailed, match="was closed; make a new one"):
            client.search(QUERY)


async def test_a_call_that_begins_as_the_client_is_closed_on_a_loop():
    with serve() as server:
        client = AsyncSearchClient(server.address)
        infer = client._triton.infer

        async def closed_meanwhile(**arguments):
            await client.close()
            return await infer(**arguments)

        client._triton.infer = closed_meanwhile
        with pytest.raises(ConnectionFailed, match="was closed; make a new one"):
            await client.search(QUERY)
