"""Counts the events that wait in Redis: run one beside it, or several for more speed and for when one dies.

    python -m deploy.consumer --profiles redis://localhost:6379/0

Events count once, however often this program or Redis is killed; those that cannot be counted are set aside in the
streams sb:{s:N}:set_aside, with a reason. SIGTERM and Ctrl-C let the batch in work end. While Redis is away it tries
again, every 10 seconds at last.
"""

import argparse
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console

from shelfbridge.errors import PrerequisiteError, SettingsError, ShelfbridgeError, StoreUnavailable
from shelfbridge.profiles.access import RETENTION, retention_days
from shelfbridge.profiles.consuming import Sink, Source, Step, step

WAIT = 1.0
"""Seconds that a step waits for events, and so the longest that a stop takes."""
BACKOFF = (0.1, 10.0)
"""Seconds before the first try after a failure, and before the later ones; doubled between, and jittered."""
_LOG = logging.getLogger("shelfbridge.consumer")


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


def run(source: Source, sink: Sink, stop: threading.Event, every: float) -> Totals:
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


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m deploy.consumer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--profiles",
        default=os.environ.get("SHELFBRIDGE_PROFILES", "redis://localhost:6379/0"),
        help="redis://, rediss:// or redis+cluster:// (default: SHELFBRIDGE_PROFILES, else redis://localhost:6379/0)",
    )
    made.add_argument("--retention-days", type=float, help=f"as the servers' (default: {RETENTION}, else 365)")
    made.add_argument(
        "--take-over", type=float, default=5.0, help="seconds after which a dead one's work is taken (%(default)s)"
    )
    made.add_argument("--status-every", type=float, default=30.0, help="seconds between status lines (%(default)s)")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    complaints = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        if not options.profiles.startswith(("redis://", "rediss://", "redis+cluster://", "rediss+cluster://")):
            raise SettingsError("events wait only in Redis; a SQLite store counts them at once and needs no consumer")
        try:
            from shelfbridge.profiles.redis import RedisSink, RedisSource
            from shelfbridge.profiles.redis.client import Client
        except ImportError as error:
            raise PrerequisiteError("the consumer needs the client of Redis; pip install redis") from error
        days = options.retention_days or retention_days()
        client = Client(options.profiles)
        source = RedisSource(client, retention_days=days, take_over=options.take_over)
        _LOG.info("%s takes events from Redis at %s", source.name, client.place)
        totals = run(source, RedisSink(client, retention_days=days), stop, options.status_every)
        try:
            source.leave()
            client.close()
        except StoreUnavailable as error:
            _LOG.warning("%s; the group still knows this consumer's name", error)
        _LOG.info("stopped: %s", totals.line())
    except ShelfbridgeError as error:
        complaints.print(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
