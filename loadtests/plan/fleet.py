"""Instances, the gateway's threshold, and the three ways to use both sites."""

import math
from dataclasses import dataclass
from typing import Literal

Strategy = Literal["private", "public", "hybrid"]
ALWAYS_PRIVATE = 1 << 30
"""A threshold that is never reached."""


@dataclass(frozen=True)
class Fleet:
    """What answers."""

    private: int
    """Instances."""
    public: int
    burst_above: int
    """Unrestricted requests in flight on the private site before more go to the public one."""
    arriving: int = 0
    """Public instances that come while the load goes on."""
    arriving_at: float = math.inf
    """Seconds after its begin."""

    @property
    def strategy(self) -> Strategy:
        """Which of the three it is."""
        if self.burst_above == 0:
            return "public"
        return "hybrid" if self.public or self.arriving else "private"
