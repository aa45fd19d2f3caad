"""The measurement as people look at it: tables in Markdown, and a plot."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from loadtests.bench.contenders import OURS, SEARCH, WARM
from loadtests.load import LEAST, LONGEST_S
from shelfbridge.measure.intervals import mean_interval, paired_difference
from shelfbridge.measure.report import MEAN, Cell, Table, bars, notes

Record = Mapping[str, Any]
FREE = 0.9
"""Share of its own most cores below which a contender shows that the machine was not free."""
LEAST_P95 = 20
"""Searches that a 95th percentile is taken of; `LEAST` has a 99th."""
COLOURS = ("#e45756", "#f58518", "#b279a2", "#4c78a8", "#72b7b2", "#54a24b", "#9d755d", "#eeca3b", "#bab0ac")
SPREAD = (
    *("per_second", "p50", "p95", "p99"),
    *("cpu_per_1000", "client_cpu_per_1000", "cores", "client_busy", "resident_mb"),
)
"""Figures of a closed loop whose spread is told."""
DIFFERENCE = "{difference:+.3f} [{difference_low:+.3f}, {difference_high:+.3f}]"


def relevance(ndcg: Mapping[str, NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    """Return the mean nDCG@10 of each contender with its 95 % interval, and the paired difference with `search`."""
    found = {}
    for name, values in ndcg.items():
        figure = mean_interval(values)
        found[name] = {"mean": figure.value, "low": figure.low, "high": figure.high}
        if SEARCH in ndcg:
            less = paired_difference(values, ndcg[SEARCH])
            found[name] |= {"difference": less.value, "difference_low": less.low, "difference_high": less.high}
    return found


def spread(values: ArrayLike) -> dict[str, float]:
    """Return median, least and greatest over the rounds."""
    known = np.asarray(values, float)
    return {"median": float(np.median(known)), "low": float(known.min()), "high": float(known.max())}


def grouped(points: Any, *names: str) -> Any:
    """Return data frames of points that are alike in some fields, by these, in the order in which they came."""
    frame = pd.DataFrame(points)
    return frame.groupby(list(names) if len(names) > 1 else names[0], sort=False) if len(frame) else ()


def closed_loops(points: Sequence[Record]) -> list[dict[str, Any]]:
    """Return each contender's closed loops over all rounds: medians with their spread."""
    loops = [point for point in points if point.get("clients")]
    return [
        {
            "contender": name,
            "clients": int(clients),
            "searches": int(some.searches.sum()),
            "errors": sum(sum(errors.values()) for errors in some.errors),
            **{one: spread(some[one]) for one in SPREAD},
        }
        for (name, clients), some in grouped(loops, "contender", "clients")
    ]


def ratios(points: Sequence[Record]) -> list[dict[str, Any]]:
    """Return how many times a peer's searches/s we do, and how many times our p99 it takes, round by round.

    The warm row has none: caches answer it, and the peers' queries never repeat.
    """
    by_name = dict(iter(grouped([point for point in points if point.get("clients")], "contender")))
    return [
        {
            "of": us,
            "peer": peer,
            "clients": int(clients),
            "per_second": spread(both.per_second / both.per_second_peer),
            "p99": spread(both.p99_peer / both.p99),
            "cpu": spread(both.cpu_per_1000_peer / both.cpu_per_1000),
        }
        for us in by_name
        for peer in by_name
        if us in OURS and us != WARM and peer not in OURS
        for clients, both in by_name[us]
        .merge(by_name[peer], on=["clients", "round"], suffixes=("", "_peer"))
        .groupby("clients")
    ]


def blocks(record: Record) -> list[str | Table]:
    """Return the record as people read it."""
    machine, plan = record["machine"], record["plan"]
    done = 1 + max((point["round"] for point in record["points"]), default=-1)
    peers, deep = record["reads"]["peers"], record["reads"]["search_deep"]
    left_out = [name for name in weaker(record) if name not in OURS]
    return [
        f"{record['products']:,} products; {machine['cores']} cores of {machine['processor']}; medians of {done} "
        "rounds [least, greatest]. CPU time and memory: the server's process tree, at the most clients; nDCG@10 is "
        f"of {record['judged']} judged {record['split']} queries, its difference paired with {SEARCH} [95 % interval].",
        f"A closed loop counts {plan['seconds']:g} s or {plan['searches']:,} searches, and {LEAST} at least where "
        f"{LONGEST_S:g} s are enough for them. Flags: `{record['flags'] or 'none'}`.",
        f"A peer's cross-encoder reads {peers['products']} products a search, up to {peers['pieces']} word pieces "
        f"with the query, by {peers['network']} (litserve-int8: in int8); that of search_deep reads "
        f"{deep['products']}, up to {deep['pieces']}, by {deep['network']}.",
        "It was stopped before its end." if record["stopped"] else "",
        *(f"**{name}** was not measured: {reason}" for name, reason in record["refused"].items()),
        closed_table(record),
        "\n".join(_remarks(record["closed"])),
        ratio_table(record, left_out),
        f"No ratio is told to {', '.join(left_out)}: nDCG@10 is below that of {SEARCH} by all the interval."
        if left_out
        else "",
        "Open loops, a latency counted from the moment a search was due; where a rate is missing, it was more than the "
        f"contender could do. –: of under {LEAST_P95} searches (p95) or {LEAST} (p99).",
        open_table(record),
    ]


def by_clients(rows: Sequence[Record], name: str) -> list[dict[str, Any]]:
    """Return a line per name: the rows by their clients, in a list, and the one with the `most`."""
    lines: dict[str, dict[str, Any]] = {}
    for row in rows:
        line = lines.setdefault(name.format(**row), {"name": name.format(**row), "at": {}})
        line["at"][row["clients"]] = line["most"] = row
    return list(lines.values())


def at_clients(levels: Sequence[int], titles: Mapping[str, str]) -> dict[str, Cell]:
    """Return columns of measures by title, each at all numbers of clients."""

    def told(clients: int, measure: str, line: Record) -> str:
        row = line["at"].get(clients)
        return "" if row is None else _spread(row[measure]) + (" †" if hindered(row) else "")

    return {f"{title}, {n}": partial(told, n, measure) for title, measure in titles.items() for n in levels}


def closed_table(record: Record) -> Table:
    """Return a line per contender: what it does at each number of clients."""
    columns: dict[str, Cell] = {
        "": "{name}",
        **at_clients(record["plan"]["clients"], {"per s": "per_second", "p99 ms": "p99"}),
        "searches counted": lambda line: " / ".join(f"{row['searches']:,}" for row in line["at"].values()),
        "CPU s per 1,000": lambda line: _spread(line["most"]["cpu_per_1000"]),
        "client's": lambda line: _spread(line["most"]["client_cpu_per_1000"]),
        "MB": "{most[resident_mb][median]:,.0f}",
        "nDCG@10": lambda line: MEAN.format(**line) if "mean" in line else "",
        "less search's": lambda line: DIFFERENCE.format(**line) if line.get("difference") else "",
    }
    lines = by_clients(record["closed"], "{contender}")
    return Table.of(columns, [{**line, **record["relevance"].get(line["name"], {})} for line in lines])


def ratio_table(record: Record, left_out: Sequence[str]) -> Table | str:
    """Return ours against each peer's that ranks as well; nothing where there is none."""
    columns: dict[str, Cell] = {
        "times": "{name}",
        **at_clients(record["plan"]["clients"], {"searches/s": "per_second", "p99": "p99"}),
        "CPU": lambda line: _spread(line["most"]["cpu"]),
    }
    lines = by_clients([row for row in record["ratios"] if row["peer"] not in left_out], "{of} : {peer}")
    return Table.of(columns, lines) if lines else ""


def hindered(row: Record) -> bool:
    """Return whether a contender had fewer cores in a round than in another, with as many clients."""
    return "cores" in row and row["cores"]["low"] < FREE * row["cores"]["high"]


def _remarks(rows: Sequence[Record]) -> list[str]:
    """What is to be known of some points of the closed loops."""
    lines = []
    if any(map(hindered, rows)):
        lines.append(
            f"†: in a round it used under {FREE:.0%} of the cores that it used in another: measured on a machine that "
            "was not free."
        )
    for row in rows:
        name, busy = f"{row['contender']}, {row['clients']} clients", row["client_busy"]["high"]
        if busy > 0.8:
            lines.append(f"{name}: the load generator used {busy:.2f} of a core; the server may do more.")
        if row["errors"]:
            lines.append(f"{name}: {row['errors']} searches failed.")
    return lines


def weaker(record: Record) -> list[str]:
    """Return the contenders whose nDCG@10 is below that of `search` by the whole interval.

    How fast they are says nothing of a search as good as ours, so no ratio to them is told.
    """
    return [name for name, row in record["relevance"].items() if row.get("difference_high", 0.0) < 0]


def open_table(record: Record) -> Table:
    """Return latencies at fixed rates, from the moment a search was due; medians over rounds."""
    points = [
        {**point, "load": f"{point['fraction']:.0%} of its most" if "fraction" in point else f"{point['rate']:g} per s"}
        for point in record["points"]
        if not point.get("clients")
    ]

    def told(measure: str, least: int, line: Record) -> str:
        mine = line["mine"]
        return _short(mine[measure].median()) if mine.searches.min() >= least else "–"

    columns: dict[str, Cell] = {
        "load": "{load}",
        "": "{name}",
        "per s": partial(told, "rate", 0),
        "sent per s": partial(told, "sent_per_second", 0),
        "searches counted": lambda line: f"{line['mine'].searches.sum():,}",
        "p50 ms": partial(told, "p50", 1),
        "p95 ms": partial(told, "p95", LEAST_P95),
        "p99 ms": partial(told, "p99", LEAST),
        "failed": lambda line: str(sum(sum(errors.values()) for errors in line["mine"].errors)),
    }
    lines = [
        {"load": load, "name": name, "mine": mine}
        for load, some in grouped(points, "load")
        for name, mine in grouped(some, "contender")
    ]
    return Table.of(columns, lines)


def draw(figure: Figure, record: Record) -> None:
    """Searches per second against p99, and the ratios."""
    (left, right) = figure.subplots(1, 2)
    names = list(dict.fromkeys(row["contender"] for row in record["closed"]))
    colours = dict(zip(names, COLOURS, strict=False))
    for name in names:
        rows = [row for row in record["closed"] if row["contender"] == name]
        speeds, tails = ([row[one]["median"] for row in rows] for one in ("per_second", "p99"))
        left.loglog(speeds, tails, "o-", label=name, color=colours[name])
        notes(left, zip(speeds, tails, strict=True), [str(row["clients"]) for row in rows])
    left.set(xlabel="searches per second", ylabel="p99, ms (beside each point: clients)")
    left.grid(alpha=0.3, which="both")
    left.legend(frameon=False, fontsize=8)
    left_out = weaker(record)
    rows = [row for row in record["ratios"] if row["of"] == SEARCH and row["peer"] not in left_out]
    right.set_visible(bool(rows))
    bars(
        right,
        [f"{row['peer']}, {row['clients']}" for row in rows],
        [row["per_second"] for row in rows],
        value="median",
        colour=[colours[row["peer"]] for row in rows],
        form=None,
    )
    right.set_xlabel("searches per second of search, in times the peer's (peer, clients)")


def _short(value: float) -> str:
    """Three digits that count, no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _spread(values: Mapping[str, float]) -> str:
    if values["low"] == values["high"]:
        return _short(values["median"])
    return f"{_short(values['median'])} [{_short(values['low'])}, {_short(values['high'])}]"
