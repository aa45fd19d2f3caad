"""What shoppers see of the engines: nDCG@10 of every stage beside that of the ONNX masters, on the same queries."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import onnxruntime
from rich.console import Console

from build.engines.checks import Session, master_session
from build.evaluate import STAGES, Figure, Run, compare, offline_runs, per_query
from build.offline import Ensembles
from build.release import open_release
from shelfbridge.catalogue import Catalogue, Judgments

BUDGET = 0.005
"""Most nDCG@10 that the engines of a release may lose."""
MEASURE = "nDCG@10"


def with_sessions(ensembles: Ensembles, sessions: Mapping[str, Session]) -> Ensembles:
    """The same steps with other sessions for some of the models."""
    run = {name: cast(onnxruntime.InferenceSession, one) for name, one in sessions.items()}
    return replace(
        ensembles,
        retrieval=replace(ensembles.retrieval, encoder=run.get("encoder", ensembles.retrieval.encoder)),
        ranker=run.get("ranker", ensembles.ranker),
        cross_encoder=run.get("cross_encoder", ensembles.cross_encoder),
    )


@dataclass(frozen=True)
class Judged:
    """A catalogue, and the judgments of one split of its queries."""

    catalogue: Catalogue
    judgments: Judgments
    split: str


def judge(
    release: Path,
    masters: Mapping[str, Path],
    engines: Mapping[str, Session],
    *,
    judged: Judged,
    budget: float,
    console: Console,
) -> tuple[dict[str, dict[str, Any]], str | None]:
    """Measure the engines against their masters.

    Returns:
        By stage, `engine` and `master` as `Figure`s in JSON form, the engine's relative to the master's; and why the
        engines must not be published, None where they may.
    """
    base = with_sessions(open_release(release), {name: master_session(path) for name, path in masters.items()})

    def runs(swapped: Mapping[str, Session]) -> dict[str, Run]:
        return offline_runs(with_sessions(base, swapped), judged.catalogue, judged.judgments, console)

    reference = runs({})
    paired = pair(reference, runs(engines), judged.judgments)
    table = {stage: {"engine": asdict(row["engine"]), "master": asdict(row["master"])} for stage, row in paired.items()}
    lost = [stage for stage, row in paired.items() if row["engine"].over_lexical < -budget]
    if not lost:
        return table, None
    alone = {name: pair(reference, runs({name: engine}), judged.judgments) for name, engine in engines.items()}
    return table, _blame(lost[-1], alone, paired, budget)


def pair(masters: Mapping[str, Run], engines: Mapping[str, Run], judgments: Judgments) -> dict[str, dict[str, Figure]]:
    """nDCG@10 by stage of both; the `over_lexical` and `p` of `engine` are those of its difference to `master`."""
    found = {}
    for stage in STAGES:
        values = per_query({"master": masters[stage], "engine": engines[stage]}, judgments)
        base = values["master"][MEASURE]
        found[stage] = {name: compare(row[MEASURE], base) for name, row in values.items()}
    return found


def _blame(
    stage: str, alone: Mapping[str, dict[str, dict[str, Figure]]], together: dict[str, dict[str, Figure]], budget: float
) -> str:
    """Name the model whose engine alone loses most at a stage."""
    lost = {name: row[stage]["engine"].over_lexical for name, row in alone.items()}
    worst = min(lost, key=lambda name: lost[name])
    return (
        f"the engines lose {-together[stage]['engine'].over_lexical:.4f} {MEASURE} at stage {stage} "
        f"(budget {budget:g}), most of it {worst} ({-lost[worst]:.4f} alone); nothing was published. Build from the "
        f"other precision, or keep the layers of {worst} that lose most in floating point"
    )
