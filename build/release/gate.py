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
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from build.evaluate import BASES
from build.evaluation.offline import Ensembles, Network, Ranking
from build.evaluation.panel import Panel, Stage, Verdict, tau
from build.progress import progress
from build.settings import Compression
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.errors import ArtefactError
from shelfbridge.measure import intervals
from shelfbridge.measure.intervals import NonInferiority, paired_difference

RECORD = "decision.json"
Served = Mapping[Network, Path]
"""Graphs of networks, or the folders of their `model.onnx`."""
NONE: Served = MappingProxyType({})
LEARNED = ("ranked", "deep")
"""The stages of learned order, which must not be worse than what they started from."""


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


@dataclass(frozen=True)
class Gate:
    """The originals, all steps with the fine-tuned networks in fp32, and the queries that candidates are judged by."""

    originals: Ensembles
    panel: Panel
    chosen: Compression
    console: Console

    @classmethod
    def of(
        cls, catalogue: Catalogue, judgments: Judgments, chosen: Compression, console: Console, **folders: Path
    ) -> "Gate":
        """Return the gate of a shop, whose originals are in `folders`."""
        return cls(Ensembles.open(**folders), Panel.apart(catalogue, judgments, chosen.queries)[1], chosen, console)

    def decide(self, name: str, network: Network, graph: Path, served: Served = NONE) -> Decision:
        """Hold a network against the originals.

        Args:
            name: of the candidate, in messages.
            network: an encoder or a ranker is judged by `search`, a cross-encoder by `search_deep`.
            graph: of the candidate.
            served: what passed before; the candidate takes its place among that.
        """
        stage: Stage = "deep" if network == "cross_encoder" else "ranked"
        before = self.panel.judge(self.originals, stage, self.console)
        try:
            steps = self.originals.with_networks({**served, network: graph})
            after = self.panel.judge(steps, stage, self.console)
        except ArtefactError as error:
            decision = Decision(False, str(error), {})
        else:
            found, margin = compared(before, after), self.chosen.budget
            passed, reason = judged(paired_difference(after.ndcg, before.ndcg), margin)
            if self.panel.chose:
                reason += "; the same queries chose its form, as they are too few to part"
            more = {"margin": margin, "chose_too": self.panel.chose, "tau@10": tau(before.rankings, after.rankings)}
            decision = Decision(passed, reason, {**found, **more})
        outcome = "passes" if decision.passed else "does not pass, its original takes its place"
        self.console.print(f"  {name} {outcome}: {decision.reason}", highlight=False, soft_wrap=True)
        return decision

    def quantised(self, network: Network, compressed: Path, served: Served = NONE) -> dict[str, Decision]:
        """Hold the int8 form of a network against the originals, by its name; empty where none was asked for.

        Raises:
            ArtefactError: the caller asked for int8 by name, and it does not pass.
        """
        if self.chosen.precision == "fp32":
            return {}
        name = f"the {network.replace('_', '-')} in int8"
        refused = json.loads((compressed / "compression.json").read_text()).get("refused")
        found = Decision(False, refused, {}) if refused else self.decide(name, network, compressed, served)
        if self.chosen.insisted and not found.passed:
            raise ArtefactError(
                f"{name} does not pass: {found.reason}. It was asked for by --precision int8: leave that out to get "
                "fp32 where int8 does not pass, or allow more loss with --budget"
            )
        return {name: found}

    def stages(self, served: Served = NONE, *, deep: bool = True) -> Decision:
        """Hold each stage of what will be served against the one before it.

        It does not pass where a learned order is worse than what it started from, beyond the queries' noise; `worse`
        among the figures names such stages.

        Args:
            served: what was decided before, in the originals' places.
            deep: whether to run the cross-encoder too.
        """
        ndcg = self._by_stage(self.originals.with_networks(served), deep=deep)
        figures: dict[str, Any] = {name: {"nDCG@10": float(values.mean())} for name, values in ndcg.items()}
        worse = []
        for name, base in [(name, base) for name, bases in BASES.items() if name in ndcg for base in bases]:
            found = paired_difference(ndcg[name], ndcg[base])
            told = "better" if found.low > 0 else "worse" if found.high < 0 else "cannot tell"
            figures[name][f"over {base}"] = {**asdict(found), "verdict": told}
            self.console.print(f"  {name} over {base}: {found:+.3f}, {told} ({found.count} queries)", highlight=False)
            if told == "worse" and name in LEARNED and name not in worse:
                worse.append(name)
        reason = f"{' and '.join(worse)} worse than the order before" if worse else "no learned order is worse"
        return Decision(not worse, reason, {**figures, "chose_too": self.panel.chose, "worse": worse})

    def _by_stage(self, steps: Ensembles, *, deep: bool) -> dict[str, NDArray[np.float64]]:
        rankings: dict[str, list[Ranking]] = {}
        with progress(self.console) as bar:
            for query in bar.track(list(self.panel.judgments.queries.values()), description="judging every stage"):
                for name, ranking in steps.rankings(query, deep=deep).items():
                    rankings.setdefault(name, []).append(ranking)
        return {name: self.panel.verdict(some).ndcg for name, some in rankings.items()}


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
