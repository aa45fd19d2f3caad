"""When what is sent over a line arrives: bandwidth, delay, jitter and loss."""

import random

from deploy.hybrid.topology import Wan

LAID = "the line is laid"
"""What a WAN's process says when both of its ends are there."""
BUFFER_SECONDS = 0.2
"""What a router before the line holds, in time; packets beyond it are dropped."""


class Line:
    """One way of a WAN. Nothing overtakes."""

    def __init__(self, wan: Wan) -> None:
        self._wan = wan
        self._bytes_per_s = wan.mbit_per_s * 1e6 / 8
        self._free = 0.0
        self._latest = 0.0

    def arrival(self, now: float, size: int) -> float:
        """When so many bytes that are sent now arrive."""
        self._free = max(now, self._free) + size / self._bytes_per_s
        jitter = random.uniform(-self._wan.jitter_ms, self._wan.jitter_ms)
        self._latest = max(self._latest, self._free + max(0.0, self._wan.rtt_ms / 2 + jitter) / 1000)
        return self._latest

    def loses(self, now: float) -> bool:
        """Whether a packet that is sent now gets lost, by chance or for want of room."""
        return self._free - now > BUFFER_SECONDS or random.random() < self._wan.loss
