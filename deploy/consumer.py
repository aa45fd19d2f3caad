"""Counts the events that wait in Redis: run one beside it, or several for more speed and for when one dies.

    python -m deploy.consumer --profiles redis://localhost:6379/0

Events count once, however often this program or Redis is killed; those that cannot be counted are set aside in the
streams sb:{s:N}:set_aside, with a reason. SIGTERM and Ctrl-C let the batch in work end. While Redis is away it tries
again, every 10 seconds at last. Every flag is also an environment variable SHELFBRIDGE_<NAME>.
"""

import argparse
import logging
import random
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shelfbridge.errors import PrerequisiteError, SettingsError, StoreUnavailable
from shelfbridge.profiles.consuming import Sink, Source, Step, step
from shelfbridge.profiles.store import RETENTION_DAYS
from shelfbridge.program import OK, add_settings, command_line, run, settings_of, told_to_stop

WAIT = 1.0
"""Seconds that a step waits for events, and so the longest that a stop takes."""
BACKOFF = (0.1, 10.0)
"""Seconds before the first try after a failure, and before the later ones; doubled between, and jittered."""
_LOG = logging.getLogger("shelfbridge.consumer")


class ConsumerSettings(BaseSettings):
    """Whose events are counted, and for how long they are kept."""

    model_config = SettingsConfigDict(env_prefix="SHELFBRIDGE_", env_ignore_empty=True, frozen=True)

    profiles: str = Field("redis://localhost:6379/0", description="redis://, rediss:// or redis+cluster://")
    retention_days: float = Field(RETENTION_DAYS, gt=0, allow_inf_nan=False, description="as the servers'")
    take_over: float = Field(
        5.0, gt=0, allow_inf_nan=False, description="seconds after which a dead one's work is taken"
    )
    status_every: float = Field(30.0, gt=0, description="seconds between status lines")


@dataclass
class Totals:
    """Since the start."""

    applied: int = 0
    set_aside: int = 0
    delay: float = 0.0
    """Seconds, the longest since the last line."""
    said: float = field(default_factory=time.monotonic)

    def add(self, one: Step) -> None:
        """Count a step."""
        self.applied += one.applied
        self.set_aside += one.set_aside
        self.delay = max(self.delay, one.delay)

    def line(self) -> str:
        """For people; starts the next period."""
        text = f"{self.applied:,} applied, {self.set_aside:,} set aside, {self.delay * 1000:.1f} ms at most to effect"
        self.delay, self.said = 0.0, time.monotonic()
        return text


def consume(source: Source, sink: Sink, stop: threading.Event, every: float) -> Totals:
    """Take steps until told to stop; log a line every so many seconds."""
    totals, pause = Totals(), BACKOFF[0]
    while not stop.is_set():
        try:
            totals.add(step(source, sink, WAIT))
            pause = BACKOFF[0]
        except StoreUnavailable as error:
            _LOG.warning("%s; trying again in %.1f s", error, pause)
            stop.wait(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, BACKOFF[1])
        if time.monotonic() - totals.said >= every:
            _LOG.info(totals.line())
    return totals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop."""
    parser = command_line("deploy.consumer", __doc__ or "")
    add_settings(parser, ConsumerSettings)
    return run(parser, arguments, _consume)


def _consume(flags: argparse.Namespace) -> int:
    settings, stop = settings_of(ConsumerSettings, flags), told_to_stop()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    if not settings.profiles.startswith(("redis://", "rediss://", "redis+cluster://", "rediss+cluster://")):
        raise SettingsError("events wait only in Redis; a SQLite store counts them at once and needs no consumer")
    try:
        from shelfbridge.profiles.redis import RedisSink, RedisSource
        from shelfbridge.profiles.redis.client import Client
    except ImportError as error:
        raise PrerequisiteError("the consumer needs the client of Redis; pip install redis") from error
    client = Client(settings.profiles)
    source = RedisSource(client, retention_days=settings.retention_days, take_over=settings.take_over)
    _LOG.info("%s takes events from Redis at %s", source.name, client.place)
    sink = RedisSink(client, retention_days=settings.retention_days)
    totals = consume(source, sink, stop, settings.status_every)
    try:
        source.leave()
        client.close()
    except StoreUnavailable as error:
        _LOG.warning("%s; the group still knows this consumer's name", error)
    _LOG.info("stopped: %s", totals.line())
    return OK


if __name__ == "__main__":
    sys.exit(main())
