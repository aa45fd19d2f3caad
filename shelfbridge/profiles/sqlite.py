"""Profiles in a SQLite file: what the embedded server uses. Several processes may write, one at a time."""

import math
import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shelfbridge.clock import Clock
from shelfbridge.errors import StoreUnavailable
from shelfbridge.profiles import popularity
from shelfbridge.profiles.events import Recorded, Refused
from shelfbridge.profiles.profile import BOUGHT, RECENT, Bought, Profile, Recent
from shelfbridge.profiles.store import DAY, sifted

PATIENCE = 5.0
"""Seconds that a writer waits for the others."""
SWEEP = 3600.0
"""Seconds between sweeps through all profiles for what is older than the retention."""
_SCHEMA, *_NAMED = re.split(r"^-- (\w+): .*\n", Path(__file__).with_suffix(".sql").read_text("utf-8"), flags=re.M)
SQL = dict(zip(_NAMED[::2], _NAMED[1::2], strict=True))
"""Statements by name."""


class SQLiteStore:
    """A `ProfileStore` in a file; `clock` tells seconds since 1970."""

    def __init__(self, path: Path, *, retention_days: float, timeout: float, clock: Clock = time.time) -> None:
        self.path, self.timeout, self.clock = path, timeout, clock
        self._retention = retention_days * DAY
        self._local = threading.local()
        self._opened: list[tuple[int, sqlite3.Connection]] = []
        self._swept = 0.0

    def put(self, events: Sequence[Recorded]) -> list[Refused]:
        """As `ProfileStore.put`: one transaction."""
        with self._transaction() as connection:
            now = self.clock()
            kept, refused = sifted(
                events, now=now, retention=self._retention, forgotten=lambda who: self._forgotten(connection, who)
            )
            new = [
                event
                for event in kept
                if connection.execute(SQL["see"], (event.who, event.id, event.time, now)).rowcount
            ]
            for event in new:
                self._apply(connection, event)
            for who in {event.who for event in new}:
                connection.execute(SQL["trim_recent"], (who, RECENT))
                connection.execute(SQL["trim_bought"], (who, BOUGHT))
            if now - self._swept > SWEEP:
                self._sweep(connection, now - self._retention, now)
        return refused

    def profile(self, who: str) -> Profile:
        """As `ProfileStore.profile`."""
        with self._connection(self.timeout) as connection:
            return self._profile(connection, who, self.clock() - self._retention, RECENT)

    def popular(self, now: float, most: int) -> list[tuple[str, float]]:
        """As `ProfileStore.popular`."""
        with self._connection(self.timeout) as connection:
            rows = connection.execute(SQL["popular"], (most,)).fetchall()
        return [(product, popularity.score(level, now)) for product, level in rows]

    def export(self, who: str) -> dict[str, Any]:
        """As `ProfileStore.export`; nothing waits here and nothing is set aside."""
        with self._transaction() as connection:
            return {
                **self._profile(connection, who).record,
                "event_ids": dict(connection.execute(SQL["arrivals"], (who,)).fetchall()),
                "waiting": [],
                "set_aside": [],
                "forgotten": self._forgotten(connection, who),
            }

    def forget(self, who: str) -> None:
        """As `ProfileStore.forget`; what is deleted is overwritten, in the file and its log."""
        with self._transaction() as connection:
            latest = connection.execute(SQL["latest"], (who,)).fetchone()[0]
            for table in ("recent", "bought", "seen"):
                connection.execute(f"DELETE FROM {table} WHERE who = ?", (who,))
            connection.execute(SQL["forget"], (who, max(self.clock(), latest or 0.0)))
        with self._connection(PATIENCE) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """As `ProfileStore.close`, for all threads of this process."""
        for process, connection in self._opened:
            if process == os.getpid():
                connection.close()
        self._opened, self._local = [], threading.local()

    def _profile(self, connection: sqlite3.Connection, who: str, floor: float = -math.inf, most: int = -1) -> Profile:
        """What is kept from a time on, of what is recent at most so much; by default all."""
        recent = connection.execute(SQL["recent"], (who, floor, most)).fetchall()
        bought = connection.execute(SQL["bought"], (who, floor)).fetchall()
        return Profile(tuple(Recent(*row) for row in recent), {product: Bought(*how) for product, *how in bought})

    def _forgotten(self, connection: sqlite3.Connection, who: str) -> float | None:
        row = connection.execute(SQL["forgotten"], (who,)).fetchone()
        return row[0] if row else None

    def _apply(self, connection: sqlite3.Connection, event: Recorded) -> None:
        deed = (event.who, event.time, event.kind, event.quantity, event.product_id, event.context)
        connection.execute(SQL["add"], deed)
        if event.kind == "buy":
            connection.execute(SQL["buy"], (event.who, event.product_id, event.quantity, event.time))
        if popularity.WEIGHTS[event.kind]:
            connection.execute(SQL["raise"], (event.product_id, popularity.level(event.kind, event.time)))

    def _sweep(self, connection: sqlite3.Connection, floor: float, now: float) -> None:
        for table, column in (("recent", "time"), ("bought", "last"), ("seen", "time"), ("forgotten", "until")):
            connection.execute(f"DELETE FROM {table} WHERE {column} < ?", (floor,))
        connection.execute("DELETE FROM popular WHERE level < ?", (popularity.faded(now),))
        self._swept = now

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection(PATIENCE) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _connection(self, patience: float) -> Iterator[sqlite3.Connection]:
        """This thread's connection; it waits so many seconds for another writer."""
        try:
            connection = self._open()
            connection.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
            yield connection
            if not self._in_place():  # SQLite itself goes on with a file that is lost with its last connection
                raise OSError("the file was removed or replaced while it was open")
        except (sqlite3.Error, OSError) as error:
            self._drop()
            cure = "see that its folder exists, has room and may be written, and that no other program locks it"
            raise StoreUnavailable(f"profiles in {self.path}: {error}; {cure}") from error

    def _open(self) -> sqlite3.Connection:
        process = os.getpid()
        if getattr(self._local, "process", None) != process:  # a connection does not survive a fork
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(mode=0o600)
            connection = sqlite3.connect(self.path, PATIENCE, isolation_level=None, check_same_thread=False)
            self._opened.append((process, connection))
            self._local.connection, self._local.process, self._local.file = connection, process, self.path.stat()
            connection.create_function("joined", 2, popularity.joined, deterministic=True)
            connection.executescript(_SCHEMA)
        found: sqlite3.Connection = self._local.connection
        return found

    def _in_place(self) -> bool:
        """Whether the path still leads to the file that this thread's connection has open."""
        try:
            return os.path.samestat(self.path.stat(), self._local.file)
        except OSError:
            return False

    def _drop(self) -> None:
        """Close this thread's connection; the next use makes another."""
        process = os.getpid()
        if getattr(self._local, "process", None) == process:
            self._opened.remove((process, self._local.connection))
            self._local.connection.close()
            del self._local.process
