"""The stores that the tests of profiles share, each as the subject of a fixture; named in `pytest_plugins`."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from shelfbridge.profiles import Profile, Recorded, open_store
from shelfbridge.profiles.store import ProfileStore
from tests.unit.profile_events import NAMES
from tests.unit.redis_server import RedisServer, counting, wait_for


@dataclass
class Subject:
    """A store, how to open it otherwise, how to wait until what was put counts, and what it holds to the last byte."""

    uri: str
    store: ProfileStore
    settle: Callable[[], object]
    files: Path
    server: RedisServer | None = None

    def put(self, *events: Recorded) -> None:
        self.store.put(events)
        self.settle()

    def profile(self, user: str) -> Profile:
        return self.store.profile(NAMES.of(user))

    def held(self) -> dict[str, str]:
        """Everything, by key or table."""
        if self.server is None:
            with closing(sqlite3.connect(self.files / "profiles.db")) as db:
                tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                return {name: repr(db.execute(f"SELECT * FROM {name}").fetchall()) for name in tables}
        with closing(self.server.bare) as client:
            read = {
                b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
                b"hash": client.hgetall,
                b"stream": client.xrange,
                b"string": client.get,
                b"none": lambda key: None,  # it went meanwhile
            }
            return {key.decode(): repr(read[client.type(key)](key)) for key in client.scan_iter(count=1000)}


@pytest.fixture(scope="session")
def servers(tmp_path_factory) -> Iterator[dict[str, RedisServer]]:
    with ExitStack() as stack:
        yield {
            kind: stack.enter_context(RedisServer(tmp_path_factory.mktemp(kind), kind == "cluster").running())
            for kind in ("redis", "cluster")
        }


@pytest.fixture(params=["sqlite", "redis", "cluster"])
def subject(request, tmp_path, servers) -> Iterator[Subject]:
    if request.param == "sqlite":
        uri = f"sqlite:///{tmp_path}/profiles.db"
        with closing(open_store(uri, timeout=2.0)) as store:
            yield Subject(uri, store, lambda: None, tmp_path)
        return
    server = servers[request.param]
    with closing(server.bare) as client:
        client.flushall()
    with closing(open_store(server.uri, timeout=2.0)) as store, counting(server.uri) as source:
        yield Subject(server.uri, store, lambda: wait_for(lambda: not source.waiting()), server.folder, server)
