"""The clock that time-dependent code is given, so that a test can set it to any moment."""

from collections.abc import Callable

Clock = Callable[[], float]
"""Returns seconds since 1970, UTC. The default everywhere is `time.time`, the machine's clock."""
