"""The gate before a release: a smaller or coarser network is served if shoppers do not lose by it, else its original.

Each candidate (a student, an int8 form) is held against the fine-tuned networks in fp32 by the paired interval of
nDCG@10 and a margin that the settings state. Non-inferior candidates pass, inferior ones do not. Where the queries
cannot tell, the estimate decides: a candidate passes if its estimated loss is within the margin, and the record says
that it is an estimate and how many queries would tell. In the end every stage is held against the one before it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from build.evaluate import BASES
from build.evaluation.offline import Ensembles, Ranking, session
from build.evaluation.panel import Network, Panel, Stage, Verdict, tau, with_network
from build.progress import progress
from shelfbridge.errors import ArtefactError
from shelfbridge.measure import intervals
from shelfbridge.measure.intervals import NonInferiority, paired_difference

RECORD = "decision.json"
LEARNED = ("ranked", "deep")
"""The stages of learned order, which must not be worse than what they started from."""


@dataclass(frozen=True)
class Candidate:
    """What may be served in a network's place: its name in messages, and its graph."""

    name: str
    network: Network
    graph: Path


@dataclass(frozen=True)
class Decision:
    """Whether a candidate passed, and why, in words and in figures."""

    passed: bool
    reason: str
    figures: dict[str, Any]


def write(folder: Path, decisions: Mapping[str, Decision]) -> None:
    """Write `decision.json`: each decision by what it is about."""
    (folder / RECORD).write_text(json.dumps({name: asdict(one) for name, one in decisions.items()}, indent=2) + "\n")


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what `write` wrote, the figures beside `passed` and `reason`; nothing for a folder without decisions."""
    if not (folder / RECORD).exists():
        return {}
    found: dict[str, dict[str, Any]] = json.loads((folder / RECORD).read_text())
    return {name: {**one.pop("figures"), **one} for name, one in found.items()}


def decide(
    candidate: Candidate,
    *,
    originals: Ensembles,
    served: Ensembles,
    panel: Panel,
    margin: float,
    console: Console,
) -> Decision:
    """Hold a candidate against the originals.

    Args:
        candidate: what may be served. An encoder is judged by `search`, a cross-encoder by `search_deep`.
        originals: all steps with the fine-tuned networks in fp32.
        served: all steps with what passed before; the candidate takes its network's place there.
        panel: the judged queries.
        margin: mean nDCG@10 that may be lost.
        console: for the progress and the outcome.
    """
    stage: Stage = "deep" if candidate.network == "cross_encoder" else "ranked"
    before = panel.judge(originals, stage, console)
    try:
        after = panel.judge(with_network(served, candidate.network, session(candidate.graph)), stage, console)
    except ArtefactError as error:
        decision = Decision(False, str(error), {})
    else:
        found = compared(before, after)
        passed, reason = judged(paired_difference(after.ndcg, before.ndcg), margin)
        if panel.chose:
            reason += "; the same queries chose its form, as they are too few to part"
        more = {"margin": margin, "chose_too": panel.chose, "tau@10": tau(before.rankings, after.rankings)}
        decision = Decision(passed, reason, {**found, **more})
    outcome = "passes" if decision.passed else "does not pass, its original takes its place"
    console.print(f"  {candidate.name} {outcome}: {decision.reason}", highlight=False, soft_wrap=True)
    return decision


def judged(difference: intervals.Interval, margin: float) -> tuple[bool, str]:
    """Return whether a difference of nDCG@10 passes a margin, and the reason in words."""
    found = NonInferiority(difference, margin)
    if found.verdict is not intervals.Verdict.CANNOT_TELL:
        return found.verdict is intervals.Verdict.NON_INFERIOR, str(found)
    passed = difference.value >= -margin
    slack = difference.value + margin
    told = "the estimate decides"
    if passed and slack > 0:
        needed = round(difference.count * ((difference.value - difference.low) / slack) ** 2)
        told += f"; about {needed:,} queries would tell"
    return passed, f"{found}; {told}"


def compared(before: Verdict, after: Verdict) -> dict[str, Any]:
    """Return both means of nDCG@10, and their paired difference with its 95 % interval."""
    found = paired_difference(after.ndcg, before.ndcg)
    return {
        "original": float(before.ndcg.mean()),
        "served": float(after.ndcg.mean()),
        "difference": found.value,
        "low": found.low,
        "high": found.high,
        "queries": found.count,
    }


def stages(served: Ensembles, *, panel: Panel, console: Console, deep: bool = True) -> Decision:
    """Hold each stage of what will be served against the one before it.

    It does not pass where a learned order is worse than what it started from, beyond the queries' noise; `worse` among
    the figures names such stages.

    Args:
        served: all steps as they will be served.
        panel: the judged queries.
        console: for the progress and the outcome.
        deep: whether to run the cross-encoder too.
    """
    ndcg = _by_stage(served, panel, console, deep=deep)
    figures: dict[str, Any] = {name: {"nDCG@10": float(values.mean())} for name, values in ndcg.items()}
    worse = []
    for name, base in [(name, base) for name, bases in BASES.items() if name in ndcg for base in bases]:
        found = paired_difference(ndcg[name], ndcg[base])
        told = "better" if found.low > 0 else "worse" if found.high < 0 else "cannot tell"
        figures[name][f"over {base}"] = {**asdict(found), "verdict": told}
        console.print(f"  {name} over {base}: {found:+.3f}, {told} ({found.count} queries)", highlight=False)
        if told == "worse" and name in LEARNED and name not in worse:
            worse.append(name)
    reason = f"{' and '.join(worse)} worse than the order before" if worse else "no learned order is worse"
    return Decision(not worse, reason, {**figures, "chose_too": panel.chose, "worse": worse})


def _by_stage(served: Ensembles, panel: Panel, console: Console, *, deep: bool) -> dict[str, NDArray[np.float64]]:
    rankings: dict[str, list[Ranking]] = {}
    with progress(console) as bar:
        for query in bar.track(list(panel.judgments.queries.values()), description="judging every stage"):
            for name, ranking in served.rankings(query, deep=deep).items():
                rankings.setdefault(name, []).append(ranking)
    return {name: panel.verdict(some).ndcg for name, some in rankings.items()}


def with_networks(ensembles: Ensembles, graphs: Mapping[Network, Path]) -> Ensembles:
    """Return the ensembles with the graphs of some networks in their places."""
    for network, graph in graphs.items():
        ensembles = with_network(ensembles, network, session(graph))
    return ensembles
