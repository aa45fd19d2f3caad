"""Load shedding where requests come in, so that what is let in is answered in time.

Triton can bound a queue itself (`max_queue_size`), but as of release 24.10 any such policy turns its prefetching off,
and then nothing wakes the batcher when a model gets free: a request that came while all instances were busy waits for
the next one to come, or half a second. Measured on two cores at 40 searches a second, one process: p99 167 ms with the
policy, 25 ms without.

So the first step of an ensemble turns requests away while more than `QUEUE` wait for one of the models that it guards:
its own ensemble's, and no other's. A thread beside the requests asks the server how many wait, and only while the step
is busy; a request finds a number and never waits for the answer.
"""

import http.client
import os
import re
import threading
import time
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from shelfbridge.contract import OVERLOADED

METRICS = "SHELFBRIDGE_METRICS"
"""Environment variable: where the server shows its metrics."""
QUEUE = 64
"""Requests that may wait for a model."""
PAUSE_S = 0.01
"""A step that has waited so long for a request has none waiting."""
BUSY_S = 0.03
"""A step that has gone on without a pause for so long has the thread look how many wait."""
LOOK_S = 0.1
"""Seconds between two looks."""
IDLE_S = 1.0
"""Seconds without a request after which the thread looks no more."""
BLIND_S = 10.0
"""Seconds until the next look where the metrics cannot be read."""
_WAITING = re.compile(r'^nv_inference_pending_request_count\{.*?model="([^"]+)".*\} (\d+)', re.MULTILINE)


class Door:
    """Decides which requests one instance of a step lets in."""

    def __init__(self, models: Collection[str], instances: int) -> None:
        """Guard models.

        Args:
            models: whose queues count; the step's own first.
            instances: of the step; each turns its share away.
        """
        self._models, self._instances = tuple(models), max(1, instances)
        self._busy_since = self._free_since = 0.0
        self._excess, self._wait_s, self._service_s = 0, 0.0, 0.0
        self._begun = 0.0
        self._busy = threading.Event()
        self._looker: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether requests have come without a pause, so that some may wait."""
        return self._busy.is_set()

    def refusal(self, deadline_s: float | None = None) -> str | None:
        """Return why the request that is taken up now is turned away; None where it is let in.

        Args:
            deadline_s: seconds that its caller gives the whole request, as sent with it.
        """
        now = self._begun = time.monotonic()
        if now - self._free_since > PAUSE_S:
            self._busy_since, self._excess, self._wait_s = now, 0, 0.0
            self._busy.clear()
        elif now - self._busy_since > BUSY_S and not self._busy.is_set():
            self._busy.set()
            self._start()
        if self._excess > 0:
            self._excess -= 1
            return f"{OVERLOADED}more than {QUEUE} requests wait; try later or elsewhere"
        if deadline_s is not None and self._wait_s + self._service_s > deadline_s:
            waited, given = self._wait_s * 1e3, deadline_s * 1e3
            return f"{OVERLOADED}requests wait {waited:.0f} ms and this one has {given:.0f}; try later or elsewhere"
        return None

    def free(self) -> None:
        """Say that the request is done."""
        self._free_since = time.monotonic()
        self._service_s += 0.1 * (self._free_since - self._begun - self._service_s)

    def _start(self) -> None:
        if self._looker is None and self._models:
            self._looker = threading.Thread(target=self._look_on, name="door", daemon=True)
            self._looker.start()

    def _look_on(self) -> None:
        while True:
            self._busy.wait()
            if time.monotonic() - max(self._begun, self._free_since) > IDLE_S:
                self._busy.clear()
                continue
            waiting = queues()
            if waiting is None:
                time.sleep(BLIND_S)
                continue
            self.look(waiting)
            time.sleep(LOOK_S)

    def look(self, waiting: dict[str, int]) -> None:
        """Take up how many requests wait, by model."""
        if self._busy.is_set():
            own = waiting.get(self._models[0], 0)
            # Who is next has waited about as long as those behind it will (Little's law)
            self._wait_s = own * self._service_s / self._instances
            longest = max(waiting.get(model, 0) for model in self._models)
            self._excess = max(0, longest - QUEUE) // self._instances


def queues() -> dict[str, int] | None:
    """Return how many requests wait, by model; None where the server does not say."""
    address = urlsplit(os.environ.get(METRICS, "http://127.0.0.1:8002/metrics"))
    connection = http.client.HTTPConnection(address.hostname or "127.0.0.1", address.port, timeout=1.0)
    try:
        connection.request("GET", address.path)
        text = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return {model: int(count) for model, count in _WAITING.findall(text)}


def guarded(step: str, ensembles: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the models whose queues decide whether a step lets a request through: itself, and those that come after it
    in every ensemble that it is a step of, but for the last ones. None where it is itself a last step, or in no
    ensemble: such a one turns nothing away.
    """
    after = [steps[steps.index(step) : -1] for steps in ensembles.values() if step in steps]
    if not after or not all(after):
        return ()
    return tuple(name for name in after[0] if all(name in others for others in after))
