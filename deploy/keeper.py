"""Starts a detached program again when it has died. Without this project's libraries, as it only waits.

    python -m deploy.keeper STATE COMMAND…

STATE is the JSON file that says which process it is (`pid`, `ticks`). When that has ended, COMMAND is run, which starts
the program again and writes the file anew. After a program that soon died again, or a command that failed, it waits
twice as long as the time before, a minute at most. Ends at SIGTERM, or when the file is gone: the program was taken
down.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from deploy import process

KEEPS = "keeps"
"""What it says when it has begun."""
LONG_S = 60.0
"""A program that lasted so long is started again at once."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0


def keep(state: Path, command: Sequence[str], pause: Callable[[float], object] = time.sleep) -> None:
    """Until the state is gone."""
    seconds = 0.0
    while state.exists():
        begun = time.monotonic()
        _wait_for_end(state)
        if not state.exists():
            return
        _say("the program has ended")
        if time.monotonic() - begun >= LONG_S:
            seconds = 0.0
        pause(seconds)
        seconds = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * seconds))
        while not _start(command):
            pause(seconds)
            seconds = min(LONGEST_PAUSE_S, 2 * seconds)


def _wait_for_end(state: Path) -> None:
    given = json.loads(state.read_bytes())
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(given["pid"])
        try:
            if process.started(given["pid"]) == given["ticks"]:
                select.select([handle], [], [])
        finally:
            os.close(handle)


def _start(command: Sequence[str]) -> bool:
    """Whether it could be."""
    starting = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        status = starting.wait()
    except SystemExit:
        starting.terminate()
        starting.wait()
        raise
    _say("it was started again" if status == 0 else f"it could not be started again (status {status})")
    return status == 0


def _say(words: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), words, flush=True)


def main(arguments: Sequence[str]) -> None:
    """Keep a program."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    _say(KEEPS)
    keep(Path(arguments[0]), arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
