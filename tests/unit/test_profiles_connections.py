"""A client of Redis that was closed holds no socket, whoever used it first."""

import gc
import os
import threading

import pytest

from shelfbridge.profiles.redis.client import Client

pytest_plugins = ("tests.unit.profile_stores",)


def sockets() -> int:
    number = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            number += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except FileNotFoundError:  # that of the list itself
            continue
    return number


@pytest.fixture
def uncollected():
    """Without the collector, which would close what is left at some other test's expense."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("kind", ["redis", "cluster"])
def test_a_closed_client_leaves_no_socket(servers, uncollected, kind, threads):
    before = sockets()
    for _ in range(3):
        client, together = Client(servers[kind].uri), threading.Barrier(threads)

        def use(client=client, together=together) -> None:
            together.wait()
            with client.explained() as redis:
                redis.ping()

        users = [threading.Thread(target=use) for _ in range(threads)]
        for user in users:
            user.start()
        for user in users:
            user.join()
        client.close()
    assert sockets() == before


def test_threads_share_one_client(servers):
    client, together = Client(servers["redis"].uri), threading.Barrier(4)
    make, seen = client._make, []

    def slowly():
        together.wait()  # all have found that there is none
        return make()

    client._make = slowly

    def use() -> None:
        with client.explained() as redis:
            seen.append(redis)

    users = [threading.Thread(target=use) for _ in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    client.close()
    assert len(set(map(id, seen))) == 1
