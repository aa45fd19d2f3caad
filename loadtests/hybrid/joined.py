"""A request as the load generator, the gateway and the site saw it, joined by its id."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from loadtests.hybrid.rows import Row
from loadtests.hybrid.traffic import RESTRICTED

NOWHERE = "none"
"""Site of what reached neither."""
SITES = ("private", "public")


class Line(NamedTuple):
    """What the gateway wrote of a request."""

    site: str
    took_ms: float
    beyond_ms: float
    """From the request's last sending to a site to the begin of its answer."""
    attempts: int
    bytes: int
    """Of the answer."""


@dataclass(frozen=True)
class Answer:
    """A request, and where its time went."""

    row: Row
    site: str
    parts: Mapping[str, float]
    """Milliseconds; empty where the gateway's line is missing or the request failed."""

    @property
    def restricted(self) -> bool:
        """Whether it must stay private."""
        return self.row.kind in RESTRICTED


def lines(path: Path, offset: int) -> dict[str, Line]:
    """The gateway's lines by request id, from a place in its file; what was cut off at the end is left out."""
    found = {}
    with path.open("rb") as file:
        file.seek(offset)
        for text in file:
            try:
                given = json.loads(text)
            except ValueError:
                continue
            took, beyond = (_ms(given.get(name)) for name in ("took_us", "upstream_us"))
            site = given.get("site") if given.get("site") in SITES else NOWHERE
            counts = (int(given.get(name) or 0) for name in ("attempts", "bytes"))
            found[str(given.get("request_id"))] = Line(site, took, beyond, *counts)
    return found


def _ms(microseconds: object) -> float:
    return float(microseconds) / 1000 if isinstance(microseconds, int | float) else 0.0


def join(rows: Iterable[Row], known: Mapping[str, Line]) -> Iterator[Answer]:
    """Every row with what the gateway said of it.

    A request's time has these parts: `client`, its library and the way to the gateway; `gateway`, with attempts that
    came to nothing; `beyond`, the way to the site, Triton and the wait for a process; and the site's own steps.
    """
    for row in rows:
        line = known.get(row.id)
        if line is None:
            yield Answer(row, NOWHERE, {})
            continue
        parts = {}
        if not row.error and line.beyond_ms:
            steps = sum(row.steps.values())
            parts = {
                "client": max(0.0, row.ms - line.took_ms),
                "gateway": max(0.0, line.took_ms - line.beyond_ms),
                "beyond": max(0.0, line.beyond_ms - steps),
                **row.steps,
            }
        yield Answer(row, line.site, parts)
