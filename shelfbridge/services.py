"""What steps use beside the release: profiles, what sells at this moment, the time."""

import time
from functools import cached_property
from typing import TYPE_CHECKING

from shelfbridge.clock import Clock

if TYPE_CHECKING:
    from shelfbridge.profiles.access import Access
    from shelfbridge.shelf.demand import LiveDemand


class Services:
    """The services of a process, opened when a step first asks for one. All steps of a process share one object."""

    def __init__(self, clock: Clock = time.time) -> None:
        self.clock = clock

    @cached_property
    def access(self) -> "Access":
        """The store of profiles that the environment names, and who may see whose.

        Raises:
            SettingsError: a variable of the environment is missing or cannot be used.
        """
        from shelfbridge.profiles.access import Access

        return Access.open()

    @cached_property
    def demand(self) -> "LiveDemand":
        """What sells at this moment."""
        from shelfbridge.shelf.demand import LiveDemand

        return LiveDemand(self.access.store.popular, self.clock)
