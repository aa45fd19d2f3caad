"""The WAN is as long and as broad as the topology says: both kinds, with real TCP over it."""

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.hybrid import Topology
from deploy.hybrid.line import Line
from deploy.hybrid.topology import Wan
from deploy.hybrid.wan import Wan as Way
from deploy.hybrid.wan import wan_of
from shelfbridge.errors import SettingsError

pytestmark = pytest.mark.slow
RTT, MBIT = 30.0, 20.0
SINK = """
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    print(flush=True)
    while True:
        caller, _ = server.accept()
        while data := caller.recv(1 << 16):
            if data.endswith(b"."):
                caller.sendall(b"!")
"""
root = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/net/tun"), reason="needs root and /dev/net/tun")


@contextmanager
def laid(topology: Topology, kind: str) -> Iterator[Way]:
    """The WAN, with a server at its end that swallows what it is sent and answers a full stop."""
    public = topology.public.model_copy(update={"port": topology.public.port + 50})
    wan = Wan.model_validate({"kind": kind, "rtt_ms": RTT, "mbit_per_s": MBIT})
    run_dir = topology.run_dir.parent / f"wan-{kind}"
    way = wan_of(topology.model_copy(update={"wan": wan, "run_dir": run_dir, "public": public}))
    way.up()
    command = [*way.inside, sys.executable, "-c", SINK, way.site_host, str(public.port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout
            server.stdout.readline()
            yield way
        finally:
            server.kill()
            way.down()


@pytest.mark.parametrize("kind", ["relay", pytest.param("namespaces", marks=root)])
def test_round_trip_and_bandwidth(topology: Topology, kind: str) -> None:
    with laid(topology, kind) as way, socket.create_connection(way.address, timeout=10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        trips = [exchange(sock, b".") for _ in range(20)]
        took = exchange(sock, bytes(2_000_000) + b".")
    rtt, rate = statistics.median(trips) * 1000, 16 / took
    print(f"{kind}: RTT {rtt:.1f} ms, {rate:.1f} Mbit/s")
    assert RTT * 0.95 < rtt < RTT * 1.5
    assert MBIT * 0.4 < rate < MBIT * 1.1


def test_words_tell_which(topology: Topology) -> None:
    words = {
        kind: wan_of(topology.model_copy(update={"wan": Wan.model_validate({"kind": kind})})).words
        for kind in ("relay", "namespaces")
    }
    assert "relay" in words["relay"]
    assert "namespaces" in words["namespaces"]


def test_a_relay_cannot_lose_packets(topology: Topology) -> None:
    way = wan_of(topology.model_copy(update={"wan": Wan(kind="relay", loss=0.01)}))
    with pytest.raises(SettingsError, match="cannot lose"):
        way.up()


def test_line_keeps_order_and_rate() -> None:
    line = Line(Wan(rtt_ms=20, jitter_ms=9, mbit_per_s=8))
    arrivals = [line.arrival(0, 1000) for _ in range(100)]
    assert arrivals == sorted(arrivals)
    assert 0.1 < arrivals[-1] < 0.1 + 0.02


def test_line_loses_its_share() -> None:
    line = Line(Wan(loss=0.2))
    assert 0.15 < sum(line.loses(0) for _ in range(5000)) / 5000 < 0.25
    assert not any(Line(Wan()).loses(0) for _ in range(100))


def exchange(sock: socket.socket, content: bytes) -> float:
    """Seconds until the answer."""
    begun = time.monotonic()
    sock.sendall(content)
    assert sock.recv(1) == b"!"
    return time.monotonic() - begun
