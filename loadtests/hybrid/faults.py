"""What fails in the middle of a run: all processes of a site are killed, or its server is stopped. Who was killed comes
back by itself, as the site's keeper starts it again.

The Python steps of a stopped server go on: stopped with it, they find each other late afterwards, and one Triton of six
(24.10) crashed on that.
"""

import os
import signal
import time
from dataclasses import dataclass, field
from threading import Event, Thread

from deploy.hybrid.sites import SiteServer
from loadtests.hybrid.scenarios import Fault
from shelfbridge.errors import ShelfbridgeError


@dataclass
class Failure:
    """What came of a fault; times in seconds since 1970."""

    way: str
    site: str
    begun: float = 0.0
    ready: float = 0.0
    """When the site had all its models again; for one that was frozen, when it went on."""
    counted: dict[str, int] = field(default_factory=dict)
    """Requests by model that it had been asked before; a killed server forgets them."""


class Failing:
    """A fault that comes at its time; as a context it is over at the exit."""

    def __init__(self, fault: Fault, site: SiteServer, start: float) -> None:
        self.failure = Failure(fault.way, site.name)
        self._fault, self._site, self._start = fault, site, start
        self._stop, self._error = Event(), ""
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Failure:
        self._thread.start()
        return self.failure

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error:
            raise ShelfbridgeError(self._error)

    def _run(self) -> None:
        try:
            self._stop.wait(self._start + self._fault.at - time.time())
            pid, failure = self._site.pid, self.failure
            if pid is None:
                self._error = f"the {self._site.name} site had ended before it was to fail; see its log"
                return
            failure.counted = self._site.requests()
            if self._fault.way == "kill":
                os.killpg(pid, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGSTOP)
            failure.begun = time.time()
            if self._fault.way == "kill":
                failure.ready = self._back(pid)
            else:
                self._stop.wait(self._fault.seconds)
                os.kill(pid, signal.SIGCONT)
                failure.ready = time.time()
        except ShelfbridgeError as error:
            self._error = str(error)

    def _back(self, killed: int) -> float:
        deadline = time.monotonic() + self._site.settings.start_timeout
        while (state := self._site.state) is None or state.pid == killed or state.ready is None:
            if time.monotonic() > deadline:
                raise ShelfbridgeError(f"the {self._site.name} site was killed and did not come back; see its log")
            time.sleep(0.02)
        return state.ready
