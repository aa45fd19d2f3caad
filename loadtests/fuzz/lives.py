"""How often a site died, and how soon its keeper had it back."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from deploy.embedded import State
from deploy.hybrid.sites import SiteServer
from shelfbridge.errors import ShelfbridgeError

LOOK_S = 0.05
LOST_S = 60.0
"""A site that is away for so long does not come back."""


@dataclass
class Death:
    """One; times in seconds since 1970."""

    site: str
    at: float
    back: float | None = None
    """When all models were ready again."""


class Lives:
    """Watches sites that run; as a context, from entry to exit."""

    def __init__(self, sites: Sequence[SiteServer]) -> None:
        self.deaths: list[Death] = []
        self._sites = sites
        self._known = {site.name: _living(site) for site in sites}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    @property
    def away(self) -> list[Death]:
        """Those who are not back yet."""
        return [death for death in self.deaths if death.back is None]

    @property
    def lost(self) -> bool:
        """Whether one does not come back."""
        return any(time.time() - death.at > LOST_S for death in self.away)

    def wait(self) -> None:
        """Until all are back, or lost."""
        while self.away and not self.lost:
            time.sleep(LOOK_S)

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_S):
            for site in self._sites:
                self._look(site)

    def _look(self, site: SiteServer) -> None:
        known, state = self._known[site.name], site.state
        if state is not None and state.pid == known.pid:
            return
        death = next((death for death in self.away if death.site == site.name), None)
        if death is None:
            death = Death(site.name, time.time())
            self.deaths.append(death)
        if state is not None and state.ready:
            death.back, self._known[site.name] = state.ready, state

    def __enter__(self) -> "Lives":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()


def _living(site: SiteServer) -> State:
    state = site.state
    if state is None:
        raise ShelfbridgeError(f"the {site.name} site does not run; see its log")
    return state
