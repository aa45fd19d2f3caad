"""The measurement as people look at it: tables in Markdown, and a plot."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from loadtests.bench.contenders import OURS, SEARCH, WARM
from loadtests.load import LEAST, LONGEST_S
from shelfbridge.measure.intervals import mean_interval, paired_difference
from shelfbridge.measure.report import Table

Points = Sequence[Mapping[str, Any]]
FREE = 0.9
"""Share of its own most cores below which a contender shows that the machine was not free."""
LEAST_P95 = 20
"""Searches that a 95th percentile is taken of; `LEAST` has a 99th."""
COLOURS = ("#e45756", "#f58518", "#b279a2", "#4c78a8", "#72b7b2", "#54a24b", "#9d755d", "#eeca3b", "#bab0ac")


def relevance(ndcg: Mapping[str, NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    """Mean nDCG@10 of each contender with its 95 % interval, and the paired difference with `search`."""
    found = {}
    for name, values in ndcg.items():
        figure = mean_interval(values)
        found[name] = {"mean": figure.value, "low": figure.low, "high": figure.high}
        if SEARCH in ndcg:
            less = paired_difference(values, ndcg[SEARCH])
            found[name] |= {"difference": less.value, "difference_low": less.low, "difference_high": less.high}
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest over the rounds."""
    return {"median": float(np.median(values)), "low": min(values), "high": max(values)}


SPREAD = (
    *("per_second", "p50", "p95", "p99"),
    *("cpu_per_1000", "client_cpu_per_1000", "cores", "client_busy", "resident_mb"),
)
"""Figures of a closed loop whose spread is told."""


def closed_loops(points: Points) -> list[dict[str, Any]]:
    """Each contender's closed loops over all rounds: medians with their spread."""
    rows = []
    for name, clients in dict.fromkeys((p["contender"], p["clients"]) for p in points if p.get("clients")):
        some = [p for p in points if (p["contender"], p.get("clients")) == (name, clients)]
        rows.append(
            {
                "contender": name,
                "clients": clients,
                "searches": sum(p["searches"] for p in some),
                "errors": sum(sum(p["errors"].values()) for p in some),
                **{one: spread([p[one] for p in some]) for one in SPREAD},
            }
        )
    return rows


def ratios(points: Points) -> list[dict[str, Any]]:
    """How many times a peer's searches/s we do, and how many times our p99 it takes, round by round.

    The warm row has none: caches answer it, and the peers' queries never repeat.
    """
    names = list(dict.fromkeys(p["contender"] for p in points))
    by_key = {(p["contender"], p["clients"], p["round"]): p for p in points if p.get("clients")}
    rows = []
    for us in (name for name in names if name in OURS and name != WARM):
        for peer in (name for name in names if name not in OURS):
            for clients in sorted({key[1] for key in by_key}):
                both = [
                    (mine, by_key[peer, clients, turn])
                    for (name, level, turn), mine in by_key.items()
                    if (name, level) == (us, clients) and (peer, clients, turn) in by_key
                ]
                if both:
                    rows.append(
                        {
                            "of": us,
                            "peer": peer,
                            "clients": clients,
                            "per_second": spread([mine["per_second"] / theirs["per_second"] for mine, theirs in both]),
                            "p99": spread([theirs["p99"] / mine["p99"] for mine, theirs in both]),
                            "cpu": spread([theirs["cpu_per_1000"] / mine["cpu_per_1000"] for mine, theirs in both]),
                        }
                    )
    return rows


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    machine, plan = record["machine"], record["plan"]
    done = 1 + max((point["round"] for point in record["points"]), default=-1)
    peers, deep = record["reads"]["peers"], record["reads"]["search_deep"]
    lines = [
        f"{record['products']:,} products; {machine['cores']} cores of {machine['processor']}; medians of {done} "
        "rounds [least, greatest]. CPU time and memory: the server's process tree, at the most clients; nDCG@10 is "
        f"of {record['judged']} judged {record['split']} queries, its difference paired with {SEARCH} [95 % interval].",
        "",
        f"A closed loop counts {plan['seconds']:g} s or {plan['searches']:,} searches, and {LEAST} at least where "
        f"{LONGEST_S:g} s are enough for them. Flags: `{record['flags'] or 'none'}`.",
        "",
        f"A peer's cross-encoder reads {peers['products']} products a search, up to {peers['pieces']} word pieces "
        f"with the query, by {peers['network']} (litserve-int8: in int8); that of search_deep reads "
        f"{deep['products']}, up to {deep['pieces']}, by {deep['network']}.",
        "",
        *(["It was stopped before its end.", ""] if record["stopped"] else []),
        *(
            line
            for name, reason in record["refused"].items()
            for line in (f"**{name}** was not measured: {reason}", "")
        ),
        *closed_table(record),
        "",
        *ratio_table(record),
        "",
        "Open loops, a latency counted from the moment a search was due; where a rate is missing, it was more than the "
        f"contender could do. –: of under {LEAST_P95} searches (p95) or {LEAST} (p99).",
        "",
        *open_table(record),
    ]
    return "\n".join(lines) + "\n"


def closed_table(record: dict[str, Any]) -> list[str]:
    """A line per contender: what it does at each number of clients."""
    levels = record["plan"]["clients"]
    head = ["", *(f"per s, {n}" for n in levels), *(f"p99 ms, {n}" for n in levels), "searches counted"]
    head += ["CPU s per 1,000", "client's", "MB", "nDCG@10", "less search's"]
    rows = {(row["contender"], row["clients"]): row for row in record["closed"]}
    lines = []
    for name in dict.fromkeys(name for name, _ in rows):
        some = [rows[name, level] for level in levels if (name, level) in rows]
        cells = [name]
        for measure in ("per_second", "p99"):
            cells += [_closed(rows[name, n], measure) if (name, n) in rows else "" for n in levels]
        cells.append(" / ".join(f"{row['searches']:,}" for row in some))
        cells += [_spread(some[-1][one]) for one in ("cpu_per_1000", "client_cpu_per_1000")]
        cells += [f"{some[-1]['resident_mb']['median']:,.0f}", *_worth(record["relevance"].get(name, {}))]
        lines.append(cells)
    return [str(Table(head, lines)), *_remarks(record["closed"])]


def _closed(row: Mapping[str, Any], measure: str) -> str:
    return _spread(row[measure]) + (" †" if hindered(row) else "")


def hindered(row: Mapping[str, Any]) -> bool:
    """Whether a contender had fewer cores in a round than in another, with as many clients."""
    return bool(row["cores"]["low"] < FREE * row["cores"]["high"])


def _remarks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is to be known of some points of the closed loops."""
    lines = []
    if any(map(hindered, rows)):
        lines.append(
            f"†: in a round it used under {FREE:.0%} of the cores that it used in another: measured on a machine that "
            "was not free."
        )
    for row in rows:
        name = f"{row['contender']}, {row['clients']} clients"
        if row["client_busy"]["high"] > 0.8:
            busy = row["client_busy"]["high"]
            lines.append(f"{name}: the load generator used {busy:.2f} of a core; the server may do more.")
        if row["errors"]:
            lines.append(f"{name}: {row['errors']} searches failed.")
    return ["", *lines] if lines else []


def weaker(record: Mapping[str, Any]) -> list[str]:
    """Return the contenders whose nDCG@10 is below that of `search` by the whole interval.

    How fast they are says nothing of a search as good as ours, so no ratio to them is told.
    """
    return [name for name, row in record["relevance"].items() if row.get("difference_high", 0.0) < 0]


def ratio_table(record: dict[str, Any]) -> list[str]:
    """Ours against each peer's that ranks as well."""
    levels = record["plan"]["clients"]
    head = ["times", *(f"searches/s, {n}" for n in levels), *(f"p99, {n}" for n in levels), "CPU"]
    lines = []
    rows = {(row["of"], row["peer"], row["clients"]): row for row in record["ratios"]}
    left_out = [name for name in weaker(record) if name not in OURS]
    for us, peer in dict.fromkeys((us, peer) for us, peer, _ in rows if peer not in left_out):
        some = [rows.get((us, peer, level)) for level in levels]
        cells = [f"{us} : {peer}"]
        for measure in ("per_second", "p99"):
            cells += [_spread(row[measure]) if row else "" for row in some]
        last = [row for row in some if row][-1]
        lines.append([*cells, _spread(last["cpu"])])
    told = [str(Table(head, lines))] if lines else []
    if left_out:
        told += [
            "",
            f"No ratio is told to {', '.join(left_out)}: nDCG@10 is below that of {SEARCH} by all the interval.",
        ]
    return told


def open_table(record: dict[str, Any]) -> list[str]:
    """Latencies at fixed rates, from the moment a search was due; medians over rounds."""
    head = ["load", "", "per s", "sent per s", "searches counted", "p50 ms", "p95 ms", "p99 ms", "failed"]
    lines = []
    points = [point for point in record["points"] if not point.get("clients")]
    for fraction, rate in dict.fromkeys((p.get("fraction"), None if "fraction" in p else p["rate"]) for p in points):
        kind = f"{fraction:.0%} of its most" if fraction else f"{rate:g} per s"
        some = [p for p in points if p.get("fraction") == fraction and (fraction or p["rate"] == rate)]
        for name in dict.fromkeys(p["contender"] for p in some):
            mine = [p for p in some if p["contender"] == name]
            fewest, all_of_them = min(p["searches"] for p in mine), sum(p["searches"] for p in mine)
            cells = [_short(float(np.median([p[one] for p in mine]))) for one in ("rate", "sent_per_second")]
            cells.append(f"{all_of_them:,}")
            for measure, least in (("p50", 1), ("p95", LEAST_P95), ("p99", LEAST)):
                cells.append(_short(float(np.median([p[measure] for p in mine]))) if fewest >= least else "–")
            failed = sum(sum(p["errors"].values()) for p in mine)
            lines.append([kind, name, *cells, str(failed)])
    return [str(Table(head, lines))]


def draw(figure: Figure, record: dict[str, Any]) -> None:
    """Searches per second against p99, and the ratios."""
    (left, right) = figure.subplots(1, 2)
    names = list(dict.fromkeys(row["contender"] for row in record["closed"]))
    colours = dict(zip(names, COLOURS, strict=False))
    for name in names:
        rows = [row for row in record["closed"] if row["contender"] == name]
        speeds, tails = ([row[one]["median"] for row in rows] for one in ("per_second", "p99"))
        left.loglog(speeds, tails, "o-", label=name, color=colours[name])
        for row, speed, tail in zip(rows, speeds, tails, strict=True):
            left.annotate(str(row["clients"]), (speed, tail), xytext=(4, 4), textcoords="offset points", fontsize=8)
    left.set(xlabel="searches per second", ylabel="p99, ms (beside each point: clients)")
    left.grid(alpha=0.3, which="both")
    left.legend(frameon=False, fontsize=8)
    left_out = weaker(record)
    rows = [row for row in record["ratios"] if row["of"] == SEARCH and row["peer"] not in left_out]
    for place, row in enumerate(rows):
        ratio = row["per_second"]
        errors = [[ratio["median"] - ratio["low"]], [ratio["high"] - ratio["median"]]]
        right.barh(place, ratio["median"], xerr=errors, color=colours[row["peer"]], ecolor="#555555", capsize=3)
    right.set_yticks(range(len(rows)), [f"{row['peer']}, {row['clients']}" for row in rows], fontsize=8)
    right.invert_yaxis()
    right.set_xlabel("searches per second of search, in times the peer's (peer, clients)")


def _worth(figure: Mapping[str, float]) -> list[str]:
    if not figure:
        return ["", ""]
    cells = [f"{figure['mean']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]", ""]
    if figure.get("difference"):
        low, high = figure["difference_low"], figure["difference_high"]
        cells[1] = f"{figure['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
    return cells


def _short(value: float) -> str:
    """Three digits that count, no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _spread(values: Mapping[str, float]) -> str:
    if values["low"] == values["high"]:
        return _short(values["median"])
    return f"{_short(values['median'])} [{_short(values['low'])}, {_short(values['high'])}]"
