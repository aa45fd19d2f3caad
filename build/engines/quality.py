"""What shoppers see of the engines: nDCG@10 of every stage beside the fp32 graphs and the engines' own ONNX masters.

The budget is the whole release's: it counts from fp32, so that what int8 or fp16 lost before the engines is not lost
twice. Only `ranked` and `deep` are answers; the other stages are reported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from build.engines.checks import Session, master_session
from build.evaluate import STAGES, compare, offline_runs
from build.evaluation.offline import Ensembles, Network, session
from build.release.publish import open_release
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.measure.ranking import NDCG, Run, per_query

BUDGET = 0.005
"""Most nDCG@10 that the engines of a release may lose against fp32."""
SERVED = ("ranked", "deep")
"""The stages whose ranking is an answer."""

Table = dict[str, dict[str, dict[str, float]]]
"""By stage by kind of graph (fp32, master, engine): mean, low, high, over_fp32, p. The last two are of the paired
difference to fp32."""


@dataclass(frozen=True)
class Judged:
    """A catalogue, and the judgments of one split of its queries."""

    catalogue: Catalogue
    judgments: Judgments
    split: str
    digest: str = ""
    """Of the catalogue's file."""


def ensembles(release: Path, originals: Mapping[str, Path]) -> Ensembles:
    """All steps of a release with its fp32 graphs.

    Args:
        originals: the graphs by model.
    """
    return with_sessions(open_release(release), {name: session(path, threads=0) for name, path in originals.items()})


def with_sessions(ensembles: Ensembles, sessions: Mapping[str, Session]) -> Ensembles:
    """The same steps with other sessions for some of the models; those of no search are left out."""
    networks: tuple[Network, ...] = get_args(Network)
    return ensembles.with_networks({network: sessions[network] for network in networks if network in sessions})


def judge(
    base: Ensembles,
    masters: Mapping[str, Path],
    engines: Mapping[str, Session],
    *,
    judged: Judged,
    budget: float,
    console: Console,
) -> tuple[Table, str | None]:
    """Measure the engines, and their masters, against fp32.

    Args:
        base: all steps with the fp32 graphs.

    Returns:
        The figures; and why the engines must not be published, None where they may.
    """

    def runs(swapped: Mapping[str, Session]) -> dict[str, Run]:
        return offline_runs(with_sessions(base, swapped), judged.catalogue, judged.judgments, console)

    fp32 = runs({})
    of_masters = runs({name: master_session(path) for name, path in masters.items()})
    figures = table({"fp32": fp32, "master": of_masters, "engine": runs(engines)}, judged.judgments)
    lost = [stage for stage in SERVED if figures[stage]["engine"]["over_fp32"] < -budget]
    if not lost:
        return figures, None
    stage = lost[-1]
    alone = {
        name: table({"fp32": fp32, "engine": runs({name: engine})}, judged.judgments)[stage]["engine"]["over_fp32"]
        for name, engine in engines.items()
        if name in get_args(Network)
    }
    worst = min(alone, key=lambda name: alone[name])
    return figures, (
        f"the engines lose {_loss(figures[stage]['engine'])} {NDCG} of fp32 at stage {stage} (budget {budget:g}; "
        f"their ONNX masters lose {_loss(figures[stage]['master'])}), most of it {worst} ({-alone[worst]:.4f} alone); "
        f"nothing was published. Build from the other precision, or keep the layers of {worst} that lose most in "
        "floating point"
    )


def table(runs: Mapping[str, Mapping[str, Run]], judgments: Judgments) -> Table:
    """The figures of some kinds of graphs, fp32 among them."""
    found: Table = {}
    for stage in STAGES:
        values = per_query({kind: of[stage] for kind, of in runs.items()}, judgments)
        found[stage] = {kind: _figure(row[NDCG], values["fp32"][NDCG]) for kind, row in values.items()}
    return found


def _figure(values: Any, base: Any) -> dict[str, float]:
    seen = compare(values, base)
    return {"mean": seen.mean, "low": seen.low, "high": seen.high, "over_fp32": seen.over_lexical, "p": seen.p}


def _loss(figure: Mapping[str, float]) -> str:
    return f"{0.0 - figure['over_fp32']:.4f}"
