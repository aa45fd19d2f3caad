"""What is SQLite's alone: one file, one writer at a time."""

import multiprocessing
import os
import shutil
import signal
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import pytest

from shelfbridge.errors import StoreUnavailable
from shelfbridge.profiles import open_store, sqlite
from tests.unit.profile_events import NAMES, event


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "new" / "profiles.db"


@pytest.fixture
def store(file):
    with closing(open_store(f"sqlite:///{file}")) as one:
        yield one


def test_the_file_is_its_owners_alone(store, file):
    store.put([event("a")])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_byte_is_left_of_what_is_forgotten(store, file):
    store.put([event("alice", f"only-alice-{n}", "buy") for n in range(500)])
    store.put([event("bob", "bobs")])
    store.forget(NAMES.of("alice"))
    left = {path.name: path.read_bytes() for path in file.parent.iterdir()}
    assert b"bobs" in left["profiles.db"]
    # Of what is popular the products stay
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA secure_delete = ON")
        other.execute("DELETE FROM popular")
        other.commit()
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert not [path.name for path in file.parent.iterdir() if b"only-alice" in path.read_bytes()]


def test_reading_does_not_wait_for_a_writer(store, file):
    store.put([event("a")])
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert len(store.profile(NAMES.of("a")).recent) == 1


def test_a_file_that_is_locked_is_said_in_time(store, file, monkeypatch):
    monkeypatch.setattr(sqlite, "PATIENCE", 0.1)
    store.put([event("a")])
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        begun = time.perf_counter()
        with pytest.raises(StoreUnavailable, match="locked; see that"):
            store.put([event("a")])
        assert 0.1 <= time.perf_counter() - begun < 1
    store.put([event("a")])
    assert len(store.profile(NAMES.of("a")).recent) == 2


@pytest.mark.parametrize("content", [b"no database at all" * 99])
def test_what_is_no_database_is_said(store, file, content):
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(StoreUnavailable, match=r"profiles\.db: file is not a database; see"):
        store.profile(NAMES.of("a"))
    file.unlink()
    assert not store.profile(NAMES.of("a")).recent


@pytest.mark.parametrize("refilled", [False, True])
def test_what_went_into_a_file_that_is_gone_is_not_confirmed(store, file, refilled):
    store.put([event("a")])
    shutil.rmtree(file.parent)
    with closing(open_store(f"sqlite:///{file}")) as other, closing(open_store(f"sqlite:///{file}")) as fresh:
        if refilled:  # its log has the name of that of the file that is gone, and holds what was confirmed
            other.put([event("b")])
        late = event("a", "late")
        with pytest.raises(StoreUnavailable, match="removed or replaced while it was open; see that"):
            store.put([late])
        store.put([late])
        assert [one.product_id for one in fresh.profile(NAMES.of("a")).recent] == ["late"]
        assert len(fresh.profile(NAMES.of("b")).recent) == refilled


def test_a_file_that_cannot_be_used_costs_no_descriptors(store, file):
    file.parent.mkdir()
    file.write_bytes(b"no database at all" * 99)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with pytest.raises(StoreUnavailable):
            store.profile(NAMES.of("a"))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_killed_writer_loses_nothing_that_it_confirmed(file):
    batches = [[event(f"u{n % 3}", f"P{n % 2}", "buy") for _ in range(5)] for n in range(2000)]
    said, says = multiprocessing.Pipe(duplex=False)

    def write() -> None:
        with closing(open_store(f"sqlite:///{file}")) as store:
            for place, batch in enumerate(batches):
                store.put(batch)
                says.send(place)

    writer = multiprocessing.get_context("fork").Process(target=write)
    writer.start()
    while said.recv() < 40:
        pass
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    last = 40
    while said.poll():
        last = said.recv()
    with closing(open_store(f"sqlite:///{file}")) as store:

        def times() -> int:
            return sum(how.times for n in range(3) for how in store.profile(NAMES.of(f"u{n}")).bought.values())

        assert 5 * (last + 1) <= times() <= 5 * (last + 2)
        assert times() % 5 == 0
        for batch in batches[: last + 2]:
            store.put(batch)
        assert times() == 5 * (last + 2)
