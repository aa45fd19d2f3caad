"""The gate before a release: compression may cost so much nDCG@10 and no more, or the step that lost it is named."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rich.console import Console

from build.offline import Ensembles, session
from build.panel import Network, Panel, Stage, Verdict, tau, with_network
from shelfbridge.errors import ArtefactError
from shelfbridge.measure.intervals import paired_difference


@dataclass(frozen=True)
class Step:
    """One step of compression: its name, the network it changes, and the graph that it leaves."""

    name: str
    network: Network
    graph: Path


def gate(
    folder: Path, *, originals: Ensembles, steps: Sequence[Step], panel: Panel, budget: float, console: Console
) -> None:
    """Compare what will be served with the originals; write `gate.json`.

    Args:
        folder: to write to.
        originals: all steps with the fp32 networks.
        steps: in their order, each on top of those before it.
        panel: the judged queries.
        budget: mean nDCG@10 that may be lost, by `search` and by `search_deep`.
        console: for the progress.

    Raises:
        ArtefactError: more is lost, with the name of the step that lost most.
    """
    record: dict[str, object] = {"queries": len(panel.judgments.queries), "budget": budget}
    for stage in get_args(Stage):
        counted = [step for step in steps if stage == "deep" or step.network != "cross_encoder"]
        before = panel.judge(originals, stage, console)
        after = panel.judge(_after(originals, counted), stage, console)
        record[stage] = {**compared(before, after), "tau@10": tau(before.rankings, after.rankings)}
        if before.ndcg.mean() - after.ndcg.mean() > budget:
            losses = _losses(originals, counted, panel, stage, console)
            worst = max(losses, key=lambda name: losses[name])
            raise ArtefactError(
                f"{worst} loses {losses[worst]:.4f} nDCG@10 of {stage} (all steps: {before.ndcg.mean():.4f} -> "
                f"{after.ndcg.mean():.4f} over {len(before.ndcg)} queries; the budget is {budget}); "
                "leave it out (--precision fp32, --no-students), or allow more with --budget"
            )
    (folder / "gate.json").write_text(json.dumps(record, indent=2) + "\n")


def compared(before: Verdict, after: Verdict) -> dict[str, float]:
    """Return both means of nDCG@10, and their paired difference with its 95 % interval."""
    found = paired_difference(after.ndcg, before.ndcg)
    return {
        "original": float(before.ndcg.mean()),
        "served": float(after.ndcg.mean()),
        "difference": found.value,
        "low": found.low,
        "high": found.high,
    }


def _after(originals: Ensembles, steps: Sequence[Step]) -> Ensembles:
    for network, graph in {step.network: step.graph for step in steps}.items():
        originals = with_network(originals, network, session(graph))
    return originals


def _losses(
    originals: Ensembles, steps: Sequence[Step], panel: Panel, stage: Stage, console: Console
) -> dict[str, float]:
    """What each step loses on top of those before it."""
    means = [
        float(panel.judge(_after(originals, steps[:count]), stage, console).ndcg.mean())
        for count in range(len(steps) + 1)
    ]
    return {step.name: before - after for step, before, after in zip(steps, means, means[1:], strict=False)}
