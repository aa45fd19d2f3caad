"""Where profiles are kept: in a SQLite file beside the server, or in Redis. One setting decides."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from shelfbridge.errors import PrerequisiteError, SettingsError
from shelfbridge.profiles.events import Recorded, Refused
from shelfbridge.profiles.profile import Profile

DAY = 86_400.0
RETENTION_DAYS = 365.0
"""Days after which nothing of an event is kept."""
TIMEOUT = 0.05
"""Seconds that reading a profile may take."""
SQLITE = "sqlite:///"
"""How the address of a SQLite file begins; its path follows."""


class ProfileStore(Protocol):
    """Profiles by pseudonym.

    Any process and thread may use one, also a process forked from the one that opened it. Connections are made at
    first use and again after a failure. Every method raises `StoreUnavailable` if the store does not answer.
    """

    def put(self, events: Sequence[Recorded]) -> list[Refused]:
        """Keep events; when it returns, all but those refused survive a crash and count.

        Putting one again, alone or after a failure, changes nothing: it is known by its user and id.

        Returns:
            What is not kept, by its place: an event older than the retention, and one that happened up to the moment
            to which its user was forgotten.
        """
        ...

    def profile(self, who: str) -> Profile:
        """What is known of a shopper; takes no longer than the store's timeout."""
        ...

    def popular(self, now: float, most: int) -> list[tuple[str, float]]:
        """Product ids with their decayed weights, the most popular first; no slower than `profile`."""
        ...

    def export(self, who: str) -> dict[str, Any]:
        """All that is kept under a pseudonym, as JSON has it: what is in the profile, `event_ids` with the times of
        their arrival, what is `waiting` to be counted and what was `set_aside`, and until when it is `forgotten`.
        """
        ...

    def forget(self, who: str) -> None:
        """Remove all that was put before, and keep no event that happened up to now.

        Where the clock of a sender was ahead, what it put may bear a time that is still to come; then no event up to
        that time is kept either. So nothing that was put before can come back, whether it is sent again or still on
        its way, and with clocks that are right the shopper begins anew at once. `put` refuses what is not kept.

        What remains is that time beside the pseudonym, for as long as events are kept. The sums of `popular` hold no
        one's id and stay.
        """
        ...

    def close(self) -> None:
        """Give connections back."""
        ...


def sifted(
    events: Sequence[Recorded], *, now: float, retention: float, forgotten: Callable[[str], float | None]
) -> tuple[list[Recorded], list[Refused]]:
    """The events that a store keeps, and those that it refuses, as `ProfileStore.put` has it.

    Args:
        events: to be put.
        now: seconds since 1970.
        retention: seconds for which events are kept.
        forgotten: up to when a user is, in seconds since 1970; None where they are not.
    """
    kept, refused = [], []
    for place, event in enumerate(events):
        until = forgotten(event.who)
        if event.time < now - retention:
            age, limit = (now - event.time) / DAY, retention / DAY
            reason = f"{age:,.0f} days ago, and events are kept for {limit:,.0f}; is it in seconds since 1970?"
        elif until is not None and event.time <= until:
            reason = "from before its user was forgotten; drop it, or set the sender's clock if it happened afterwards"
        else:
            kept.append(event)
            continue
        refused.append(Refused(place, f"time: {reason}"))
    return kept, refused


def anchored(uri: str, folder: Path) -> str:
    """An address that means the same in every folder: a relative path of SQLite's becomes one below `folder`."""
    path = uri.removeprefix(SQLITE)
    return f"{SQLITE}{folder.absolute() / path}" if path and path != uri else uri


def open_store(uri: str, *, retention_days: float = RETENTION_DAYS, timeout: float = TIMEOUT) -> ProfileStore:
    """The store at an address; it need not be reachable yet.

    Args:
        uri: `sqlite:///relative/path`, `sqlite:////absolute/path`, `redis://[user:password@]host:port/db`, `rediss://…`
            (TLS), or `redis+cluster://host:port` (`rediss+cluster://…`) with any node of a cluster.
        retention_days: after which nothing of an event is kept.
        timeout: seconds that `profile` and `popular` may take.

    Raises:
        SettingsError: no such kind of address, or a setting out of range.
        PrerequisiteError: the client of Redis is not installed.
    """
    if retention_days <= 0 or timeout <= 0:
        raise SettingsError("retention and timeout of the store of profiles have to be above 0")
    scheme = urlsplit(uri).scheme
    if scheme == "sqlite" and len(path := uri.removeprefix(SQLITE)) < len(uri) and path:
        from shelfbridge.profiles.sqlite import SQLiteStore

        return SQLiteStore(Path(path), retention_days=retention_days, timeout=timeout)
    if scheme.removesuffix("+cluster") in ("redis", "rediss"):
        try:
            from shelfbridge.profiles.redis import RedisStore
        except ImportError as error:
            raise PrerequisiteError("profiles in Redis need its client; pip install redis") from error
        return RedisStore(uri, retention_days=retention_days, timeout=timeout)
    raise SettingsError(f"{scheme or 'nothing'}: no kind of store; use sqlite:///path, redis:// or redis+cluster://")
