"""What fails in the middle of a run: all processes of a site are killed, or its server is stopped. Who was killed comes
back by itself, as the site's keeper starts it again.

The Python steps of a stopped server go on: stopped with it, they find each other late afterwards, and one Triton of six
(24.10) crashed on that.
"""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event

from deploy.hybrid.sites import SiteServer
from loadtests.hybrid.scenarios import Fault
from shelfbridge.errors import ShelfbridgeError


@dataclass
class Failure:
    """What came of a fault; times in seconds since 1970.

    ready: when the site had all its models again; for one that was frozen, when it went on. counted: requests by model
    that it had been asked before; a killed server forgets them.
    """

    way: str
    site: str
    begun: float = 0.0
    ready: float = 0.0
    counted: dict[str, int] = field(default_factory=dict)


@contextmanager
def failing(fault: Fault, site: SiteServer, start: float) -> Iterator[Failure]:
    """A fault that comes at its time; as a context it is over at the exit.

    Args:
        fault: what happens, and when.
        site: to which it happens.
        start: of the load, in seconds since 1970.

    Raises:
        ShelfbridgeError: the site had ended before, or did not come back.
    """
    failure, stop = Failure(fault.way, site.name), Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(_fail, fault, site, start, failure, stop)
        try:
            yield failure
        finally:
            stop.set()
    running.result()


def _fail(fault: Fault, site: SiteServer, start: float, failure: Failure, stop: Event) -> None:
    if stop.wait(start + fault.at - time.time()):
        return
    if (pid := site.pid) is None:
        raise ShelfbridgeError(f"the {site.name} site had ended before it was to fail; see its log")
    failure.counted = site.requests()
    if fault.way == "freeze":
        os.kill(pid, signal.SIGSTOP)
        failure.begun = time.time()
        stop.wait(fault.seconds)
        os.kill(pid, signal.SIGCONT)
        failure.ready = time.time()
        return
    os.killpg(pid, signal.SIGKILL)
    failure.begun = time.time()
    deadline = time.monotonic() + site.settings.start_timeout
    while (state := site.state) is None or state.pid == pid or state.ready is None:
        if time.monotonic() > deadline:
            raise ShelfbridgeError(f"the {site.name} site was killed and did not come back; see its log")
        time.sleep(0.02)
    failure.ready = state.ready
