"""The measurement as people look at it: the record as JSON, tables in Markdown, a plot."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from build.evaluate import compare
from loadtests.bench.contenders import OURS, SEARCH

matplotlib.use("Agg")
from matplotlib import pyplot

Points = Sequence[Mapping[str, Any]]
COLOURS = ("#e45756", "#f58518", "#b279a2", "#4c78a8", "#72b7b2", "#54a24b", "#9d755d")


def relevance(ndcg: Mapping[str, NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    """Mean nDCG@10 of each contender with its 95 % interval, and the paired difference with `search`."""
    found = {}
    for name, values in ndcg.items():
        figure = compare(values, values)
        found[name] = {"mean": figure.mean, "low": figure.low, "high": figure.high}
        if SEARCH in ndcg:
            change = values - ndcg[SEARCH]
            less = compare(change, np.zeros_like(change))
            found[name] |= {"difference": less.mean, "difference_low": less.low, "difference_high": less.high}
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest over the rounds."""
    return {"median": float(np.median(values)), "low": min(values), "high": max(values)}


def closed_loops(points: Points) -> list[dict[str, Any]]:
    """Each contender's closed loops over all rounds: medians with their spread."""
    rows = []
    for name, clients in dict.fromkeys((p["contender"], p["clients"]) for p in points if p.get("clients")):
        some = [p for p in points if (p["contender"], p.get("clients")) == (name, clients)]
        names = ("per_second", "p50", "p95", "p99", "cpu_per_1000", "client_cpu_per_1000", "client_busy", "resident_mb")
        rows.append(
            {
                "contender": name,
                "clients": clients,
                "searches": sum(p["searches"] for p in some),
                "errors": sum(sum(p["errors"].values()) for p in some),
                **{one: spread([p[one] for p in some]) for one in names},
            }
        )
    return rows


def ratios(points: Points) -> list[dict[str, Any]]:
    """How many times a peer's searches/s we do, and how many times our p99 it takes, round by round."""
    names = list(dict.fromkeys(p["contender"] for p in points))
    by_key = {(p["contender"], p["clients"], p["round"]): p for p in points if p.get("clients")}
    rows = []
    for us in (name for name in names if name in OURS):
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


def write_report(folder: Path, record: dict[str, Any]) -> None:
    """Write `bench.json`, `bench.md` and `bench.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(record, indent=2) + "\n")
    (folder / "bench.md").write_text(table(record))
    plot(folder / "bench.png", record)


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    machine, plan = record["machine"], record["plan"]
    lines = [
        f"{record['products']:,} products; {machine['cores']} cores of {machine['cpu']}; medians of {plan['rounds']} "
        "rounds [least, greatest]. CPU time and memory: the server's process tree, at the most clients; nDCG@10 is "
        f"of {record['judged']} judged {record['split']} queries, its difference paired with {SEARCH} [95 % interval].",
        "",
        *closed_table(record),
        "",
        *ratio_table(record),
        "",
        "Open loops, a latency counted from the moment a search was due; where a rate is missing, it was more than the "
        "contender could do.",
        "",
        *open_table(record),
    ]
    lines += ["", *(f"**{name}** was not measured: {reason}" for name, reason in record["refused"].items())]
    return "\n".join(lines).rstrip() + "\n"


def closed_table(record: dict[str, Any]) -> list[str]:
    """A line per contender: what it does at each number of clients."""
    levels = record["plan"]["clients"]
    head = ["", *(f"per s, {n}" for n in levels), *(f"p99 ms, {n}" for n in levels)]
    head += ["CPU s per 1,000", "client's", "MB", "nDCG@10", "less search's"]
    rows = {(row["contender"], row["clients"]): row for row in record["closed"]}
    lines = [_line(head), _line(["---"] * len(head))]
    for name in dict.fromkeys(name for name, _ in rows):
        some = [rows[name, level] for level in levels if (name, level) in rows]
        cells = [name]
        for measure in ("per_second", "p99"):
            cells += [_spread(rows[name, n][measure]) if (name, n) in rows else "" for n in levels]
        cells += [_spread(some[-1][one]) for one in ("cpu_per_1000", "client_cpu_per_1000")]
        cells += [f"{some[-1]['resident_mb']['median']:,.0f}", *_worth(record["relevance"].get(name, {}))]
        lines.append(_line(cells))
    busy = [row for row in record["closed"] if row["client_busy"]["high"] > 0.8]
    wrong = [row for row in record["closed"] if row["errors"]]
    lines += [""] if busy or wrong else []
    lines += [
        f"{row['contender']}, {row['clients']} clients: the load generator used {row['client_busy']['high']:.2f} of a "
        "core; the server may do more."
        for row in busy
    ]
    lines += [f"{row['contender']}, {row['clients']} clients: {row['errors']} searches failed." for row in wrong]
    return lines


def ratio_table(record: dict[str, Any]) -> list[str]:
    """Ours against each peer's."""
    levels = record["plan"]["clients"]
    head = ["times", *(f"searches/s, {n}" for n in levels), *(f"p99, {n}" for n in levels), "CPU"]
    lines = [_line(head), _line(["---"] * len(head))]
    rows = {(row["of"], row["peer"], row["clients"]): row for row in record["ratios"]}
    for us, peer in dict.fromkeys((us, peer) for us, peer, _ in rows):
        some = [rows.get((us, peer, level)) for level in levels]
        cells = [f"{us} : {peer}"]
        for measure in ("per_second", "p99"):
            cells += [_spread(row[measure]) if row else "" for row in some]
        last = [row for row in some if row][-1]
        lines.append(_line([*cells, _spread(last["cpu"])]))
    return lines


def open_table(record: dict[str, Any]) -> list[str]:
    """Latencies at fixed rates, from the moment a search was due; medians over rounds."""
    lines = [_line(["sent", "", "per s", "p50 ms", "p95 ms", "p99 ms", "failed"]), _line(["---"] * 7)]
    points = [point for point in record["points"] if not point.get("clients")]
    for fraction, rate in dict.fromkeys((p.get("fraction"), None if "fraction" in p else p["rate"]) for p in points):
        kind = f"{fraction:.0%} of its most" if fraction else f"{rate:g} per s"
        some = [p for p in points if p.get("fraction") == fraction and (fraction or p["rate"] == rate)]
        for name in dict.fromkeys(p["contender"] for p in some):
            mine = [p for p in some if p["contender"] == name]
            cells = [float(np.median([p[one] for p in mine])) for one in ("rate", "p50", "p95", "p99")]
            failed = sum(sum(p["errors"].values()) for p in mine)
            lines.append(_line([kind, name, *map(_short, cells), str(failed)]))
    return lines


def plot(path: Path, record: dict[str, Any]) -> None:
    """Searches per second against p99, and the ratios."""
    drawing, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
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
    rows = [row for row in record["ratios"] if row["of"] == SEARCH]
    for place, row in enumerate(rows):
        ratio = row["per_second"]
        errors = [[ratio["median"] - ratio["low"]], [ratio["high"] - ratio["median"]]]
        right.barh(place, ratio["median"], xerr=errors, color=colours[row["peer"]], ecolor="#555555", capsize=3)
    right.set_yticks(range(len(rows)), [f"{row['peer']}, {row['clients']}" for row in rows], fontsize=8)
    right.invert_yaxis()
    right.set_xlabel("searches per second of search, in times the peer's (peer, clients)")
    drawing.savefig(path, dpi=120)
    pyplot.close(drawing)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


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
