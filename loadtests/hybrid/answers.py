"""A request as the load generator, the gateway and the site saw it: a row of a table, joined by its id."""

import json
from contextlib import suppress
from pathlib import Path

import pandas as pd

from loadtests.hybrid.load import START, Row
from loadtests.hybrid.traffic import RESTRICTED

NOWHERE = "none"
"""Site of what reached neither."""
SITES = ("private", "public")
OUTSIDE = ("client", "gateway", "beyond")
"""Parts of a request's time beside the site's steps."""


def rows(path: Path) -> tuple[float, pd.DataFrame]:
    """Return when the load began, and its requests: the columns of `Row`."""
    with path.open(encoding="utf-8") as file:
        start = float(json.loads(file.readline())[START])
        return start, pd.DataFrame(map(json.loads, file), columns=Row._fields)


def lines(path: Path, offset: int) -> pd.DataFrame:
    """Return what the gateway wrote of requests, from a place in its file; what was cut off at the end is left out.

    Columns: `id`, `site`, `took_ms`, `beyond_ms` (from the last sending to a site to the begin of its answer), `bytes`
    of the answer.
    """
    found = []
    with path.open("rb") as file:
        file.seek(offset)
        for text in file:
            with suppress(ValueError):
                found.append(json.loads(text))
    given = pd.DataFrame(found, columns=["request_id", "site", "took_us", "upstream_us", "bytes"])
    took, beyond, size = (
        pd.to_numeric(given[name], errors="coerce").fillna(0) for name in ("took_us", "upstream_us", "bytes")
    )
    site = given.site.where(given.site.isin(SITES), NOWHERE)
    told = {"id": given.request_id, "site": site, "took_ms": took / 1000, "beyond_ms": beyond / 1000, "bytes": size}
    return pd.DataFrame(told).drop_duplicates("id", keep="last")


def join(sent: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Return the requests with what the gateway said of each, and where its time went, in milliseconds.

    The parts are `client`, its library and the way to the gateway; `gateway`, with attempts that came to nothing;
    `beyond`, the way to the site, Triton and the wait for a process; and the site's own `steps`, together `in_steps`.
    They are NaN where the gateway's line is missing or the request failed. `restricted`: whether it must stay private.
    """
    found = sent.merge(known, how="left", on="id")
    found["site"] = found.site.fillna(NOWHERE)
    found["restricted"] = found.kind.isin(RESTRICTED)
    found["in_steps"] = [float(sum(steps.values())) for steps in found.steps]
    told = (found.error == "") & (found.beyond_ms > 0)
    for part, whole, less in (
        ("client", "ms", "took_ms"),
        ("gateway", "took_ms", "beyond_ms"),
        ("beyond", "beyond_ms", "in_steps"),
    ):
        found[part] = (found[whole] - found[less]).clip(lower=0).where(told)
    return found
