"""A connection to Redis, alone or a cluster, and its errors in this project's words."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError
from redis.retry import Retry

from shelfbridge.errors import SettingsError, StoreUnavailable

PATIENCE = 5.0
"""Seconds that Redis has for what is not urgent."""


class Client:
    """Made at first use and made anew after a failure to make it; a fork of the process gets connections of its own."""

    def __init__(self, uri: str, timeout: float = PATIENCE) -> None:
        """Remember where Redis is.

        Args:
            uri: as `open_store` takes it.
            timeout: seconds for all a call may wait for: a connection and an answer; of a cluster also a look at which
                node has the answer now, and that is longer where more than one node is away.

        Raises:
            SettingsError: the address is none.
        """
        self.place = _place(uri)
        self.clustered = "+cluster" in urlsplit(uri).scheme
        self._uri, self._timeout = uri.replace("+cluster", "", 1), timeout
        self._made: dict[str, Any] = {}

    @contextmanager
    def explained(self) -> Iterator[Any]:
        """The client of the library `redis`; what it raises inside is given a cause and a cure.

        Raises:
            StoreUnavailable: Redis did not answer, or not as it should.
        """
        try:
            if (client := self._made.get("client")) is None:
                client = self._kept(self._make())
            yield client
        except (RedisError, RedisClusterException, OSError) as error:
            cure = "see that it runs and is reached, and has memory and disk left"
            raise StoreUnavailable(f"profiles in Redis at {self.place}: {_cause(error)}; {cure}") from None

    def run(self, name: str, keys: Sequence[str], *arguments: Any) -> Any:
        """The result of a script of the folder `scripts`."""
        with self.explained() as client:
            return client.eval(_script(name), len(keys), *keys, *arguments)

    def run_all(self, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """The results of a script for keys and arguments of many calls, sent as one; a call may answer an error."""
        script = _script(name)
        with self.explained() as client:

            def answers(command: str, text: str, some: Sequence[int]) -> list[Any]:
                line = client.pipeline(transaction=False)
                for place in some:
                    names, arguments = calls[place]
                    line.execute_command(command, text, len(names), *names, *arguments)
                return list(line.execute(raise_on_error=False)) if some else []

            found = answers("EVALSHA", hashlib.sha1(script.encode()).hexdigest(), range(len(calls)))
            unknown = [place for place, one in enumerate(found) if isinstance(one, NoScriptError)]
            for place, one in zip(unknown, answers("EVAL", script, unknown), strict=True):
                found[place] = one
            for one in found:
                if isinstance(one, Exception) and not isinstance(one, ResponseError):
                    raise one
            return found

    def close(self) -> None:
        """Give connections back."""
        if (made := self._made.pop("client", None)) is not None:
            self._close(made)

    def _kept(self, made: Any) -> Any:
        """Keep a client, or another thread's that was first. No lock: a fork could leave one that is never freed."""
        if (kept := self._made.setdefault("client", made)) is not made:
            self._close(made)
        return kept

    def _close(self, made: Any) -> None:
        if self.clustered:  # its own `close` leaves the connections open where the cluster was named by a URL
            made.disconnect_connection_pools()
        made.close()

    def _make(self) -> Any:
        patience = self._timeout / (3 if self.clustered else 2)
        options: dict[str, Any] = {"socket_timeout": patience, "socket_connect_timeout": patience}
        if self.clustered:
            return redis.RedisCluster.from_url(self._uri, retry=Retry(NoBackoff(), 1), **options)
        # Once more, on a new connection, where the old one broke; never after a wait
        again = Retry(NoBackoff(), 1, (redis.ConnectionError,))
        return redis.Redis.from_url(self._uri, retry=again, **options)


@cache
def _script(name: str) -> str:
    """What Redis does as one: each script touches one slot, and doing it twice is doing it once."""
    return (Path(__file__).parent / "scripts" / f"{name}.lua").read_text(encoding="utf-8")


def _place(uri: str) -> str:
    """Host and port, without credentials."""
    try:
        parts = urlsplit(uri)
        if not parts.hostname:
            raise ValueError
        return f"{parts.hostname}:{parts.port or 6379}"
    except ValueError:
        raise SettingsError("the address of Redis cannot be read; give redis://host:port/0") from None


def _cause(error: Exception) -> str:
    """What happened, in words that hold no key, as keys hold pseudonyms."""
    if isinstance(error, redis.TimeoutError | TimeoutError):
        return "no answer in time"
    if isinstance(error, ResponseError):
        return f"{type(error).__name__} {str(error).partition(' ')[0]}"
    return f"{type(error).__name__} ({error})"
