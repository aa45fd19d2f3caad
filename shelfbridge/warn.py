"""A warning that is said once a second, however many requests meet its cause."""

import logging
import time

_LOG = logging.getLogger("shelfbridge")
_said: dict[str, float] = {}


def warn(text: str) -> None:
    """Log it, unless that was done within the last second."""
    now = time.monotonic()
    if now - _said.get(text, -1.0) >= 1.0:
        _said[text] = now
        _LOG.warning(text)
