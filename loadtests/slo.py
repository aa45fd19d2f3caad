"""What latency is promised: `p99=150ms`, or of one kind of request `search:p99=150ms`."""

import argparse
import re
from dataclasses import dataclass

_FORM = re.compile(r"(?:([a-z_]+):)?(p50|p95|p99|p99\.9)=(\d+(?:\.\d+)?)(ms|s)")


@dataclass(frozen=True)
class Slo:
    """One promise."""

    kind: str
    """Of request; `all` where none is named."""
    percentile: str
    ms: float

    @classmethod
    def parse(cls, text: str) -> "Slo":
        """As argparse reads it."""
        match = _FORM.fullmatch(text)
        if match is None or not float(match[3]):
            raise argparse.ArgumentTypeError(f"{text!r} is no promise; give for example p99=150ms or search:p95=0.1s")
        return cls(match[1] or "all", match[2], float(match[3]) * (1000 if match[4] == "s" else 1))

    @property
    def percent(self) -> float:
        """The percentile as a number."""
        return float(self.percentile[1:])

    def __str__(self) -> str:
        of = "" if self.kind == "all" else f"{self.kind}:"
        return f"{of}{self.percentile}={self.ms:g}ms"
