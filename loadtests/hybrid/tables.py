"""A run in tables: the same rows go into Markdown and into the page."""

from collections.abc import Mapping
from typing import Any

from loadtests.hybrid.latencies import PERCENTILES
from shelfbridge.measure.report import Table

Record = Mapping[str, Any]


def number(value: float | None) -> str:
    """Milliseconds, or another quantity of which three digits are enough."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def sentence(record: Record) -> str:
    """What was run, in a line or two."""
    failed = record["failed"]
    return (
        f"{record['about']}; {record['mode']}. {record['requests']:,} requests in {record['seconds']:g} s "
        f"({record['rate']:.0f} a second), {record['burst_share']:.0%} of the unrestricted ones answered by the public "
        f"site; failed: {failed['unrestricted']:,} unrestricted, {failed['restricted']:,} restricted. "
        f"WAN: {record['wan']}. {record['machine']['cores']} cores of {record['machine']['processor']} for both sites, "
        f"gateway and load."
    )


def tables(record: Record) -> list[Table]:
    """All of a run."""
    return [
        part
        for part in (
            _verdict(record),
            _failover(record),
            _latency(record),
            _groups(record),
            _where(record),
            _errors(record),
        )
        if part.rows
    ]


def _verdict(record: Record) -> Table:
    rows = [
        [row["what"], number(row["limit"]), number(row["found"]), "kept" if row["kept"] else "**missed**"]
        for row in record["verdict"]["rows"]
    ]
    return Table(["", "at most", "found", ""], rows, "Promises")


def _failover(record: Record) -> Table:
    found, failure = record["failover"], record["failure"]
    rows = [
        ["longest unrestricted request, site down, ms", number(found["worst_ms"])],
        ["longest unrestricted request before, ms", number(found["worst_before_ms"])],
        ["back at the site after it was ready, s", number(found["failback_s"])],
        ["down for, s", number(found["down_s"])],
    ] if found else []  # fmt: skip
    title = f"The {failure['site']} site: {failure['way']}" if failure else ""
    return Table(["", ""], rows, title)


def _latency(record: Record) -> Table:
    names = [*PERCENTILES, "max"]
    rows = [
        [kind, f"{found['count']:,}", *(number(found[name]) for name in names)]
        for kind, found in record["latency"].items()
    ]
    return Table(["kind", "answers", *names], rows, "Latency by kind, ms")


def _groups(record: Record) -> Table:
    names = [*PERCENTILES, "max"]
    rows = [
        [
            group["phase"],
            group["site"],
            group["kind"],
            f"{group.get('count', 0):,}",
            f"{group['failed']:,}",
            *(number(group.get(name)) for name in names),
        ]
        for group in record["groups"]
    ]
    return Table(["phase", "site", "kind", "answers", "failed", *names], rows, "By phase, site and kind, ms")


def _where(record: Record) -> Table:
    rows = [
        [row["site"], row["kind"], row["part"].replace("_", " "), number(row["p50"]), number(row["p99"])]
        for row in sorted(record["where"], key=lambda row: (row["site"], row["kind"]))
    ]
    return Table(["site", "kind", "part", "p50", "p99"], rows, "Where the time went, ms")


def _errors(record: Record) -> Table:
    rows = [
        [error["phase"], error["kind"], error["error"], f"{error['count']:,}", error["words"]]
        for error in record["errors"]
    ]
    return Table(["phase", "kind", "error", "count", "words"], rows, "Errors by cause")
