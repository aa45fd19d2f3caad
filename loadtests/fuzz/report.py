"""What came of the attacks, as people look at it, and what of it is called broken."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from loadtests.fuzz.others import Wrong
from loadtests.fuzz.watch import GROWTH_MB, LOOK_S, TELLING, Death
from shelfbridge.measure.report import Table, markdown

Record = Mapping[str, Any]
SHOWN = 3
"""Of others' searches that went wrong; fuzz.json has all."""
RECONNECT_S = 2.0
"""Longest pause before a client tries to connect again to a site that was away."""


def apart(wrong: Sequence[Wrong], deaths: Sequence[Death]) -> tuple[list[Wrong], int]:
    """What went wrong, without the searches that failed at a site while that was away; and how many these are."""

    def missed(one: Wrong) -> bool:
        return (
            one.failed
            and one.way == "direct"
            and any(
                death.site == "private" and death.at - LOOK_S <= one.at <= (death.back or time.time()) + RECONNECT_S
                for death in deaths
            )
        )

    kept = [one for one in wrong if not missed(one)]
    return kept, len(wrong) - len(kept)


def broken(record: Record) -> list[str]:
    """What is wrong, in words; nothing where all is well."""
    words = []
    for site in sorted({death["site"] for death in record["deaths"]}):
        away = [death["away_s"] for death in record["deaths"] if death["site"] == site]
        back = "did not come back" if None in away else f"was back within {max(away):.1f} s"
        words.append(f"the {site} site died {len(away)} times and {back}")
    if record["missed"]:
        words.append(f"{record['missed']:,} direct searches of others failed meanwhile")
    words += [f"a process of {name} ended" for name in record["processes_ended"]]
    words += record["others_wrong"][:SHOWN]
    if (more := len(record["others_wrong"]) - SHOWN) > 0:
        words.append(f"{more:,} more of others' searches")
    if record["complaints"]:
        words.append(f"{len(record['complaints'])} requests were answered that must be refused")
    for name, grown in record["growth_mb"].items():
        if grown > GROWTH_MB:
            words.append(f"private memory of {name} grew by {grown:.1f} MB")
    if record["restricted_outside"]:
        words.append(f"{record['restricted_outside']} restricted requests at the public site")
    return words


def text(record: Record) -> str:
    """Markdown."""
    verdict = "**Nothing broke**" if not record["broken"] else "**Broken**: " + "; ".join(record["broken"])
    grown = ", ".join(f"{name} {value:+.1f}" for name, value in record["growth_mb"].items())
    grown = grown or f"not told by fewer than {TELLING:,} requests"
    grown += "".join(f", {name} not told, as it died" for name in sorted({one["site"] for one in record["deaths"]}))
    searched = sum(took["count"] for took in record["others"].values())
    wrong = len(record["others_wrong"]) + record["missed"]
    left_out = f" **Left out: calls that their callers give up**, of which Triton {record['triton']} may crash."
    about = (
        f"{verdict} over {record['requests']:,} hostile requests in {record['seconds']:.0f} s (seed {record['seed']}). "
        f"{searched:,} searches of others meanwhile, {wrong:,} of them failed or were answered otherwise; "
        f"{record['restricted_outside']} restricted requests at the public site. Private memory after it had settled, "
        f"MB: {grown}.{'' if record['given_up'] else left_out}"
    )
    others = {"others' searches": "{name}", "answers": "{count:,}", "p50 ms": "{p50:.1f}", "p99 ms": "{p99:.1f}"}
    requests = {
        "requests": "{category}",
        "way": "{way}",
        "sent": "{sent:,}",
        "how they ended": "{ends}",
        "slowest, s": "{slowest:.2f}",
    }
    rows = [
        {
            "category": category,
            "way": way,
            "sent": sum(ends.values()),
            "ends": ", ".join(f"{how} {number:,}" for how, number in sorted(ends.items(), key=lambda each: -each[1])),
            "slowest": record["slowest_s"][category][way],
        }
        for category, ways in sorted(record["ends"].items())
        for way, ends in sorted(ways.items())
    ]
    searches = [{"name": name, **took} for name, took in record["others"].items()]
    return markdown([about, Table.of(others, searches), Table.of(requests, rows)])


def draw(figure: Figure, record: Record) -> None:
    """Memory over the attacks, and how each kind ended."""
    (memory, ends) = figure.subplots(1, 2)
    held = pd.DataFrame([one["memory"] for one in record["looks"]], [one["requests"] for one in record["looks"]])
    held.plot(ax=memory, xlabel="hostile requests", ylabel="private memory, MB").set_ylim(0, None)
    counted = pd.DataFrame(
        {kind: pd.DataFrame(list(ways.values())).sum() for kind, ways in sorted(record["ends"].items(), reverse=True)}
    )
    counted.T.plot.barh(ax=ends, stacked=True, cmap="tab20", xlabel="requests, by how they ended", width=0.8)
    ends.legend(frameon=False, fontsize=7)
    memory.legend(frameon=False)
