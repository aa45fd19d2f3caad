"""The candidates of each network: made by the stages of a build, judged by nDCG@10, timed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import PreTrainedModel

from build.compression.calibration import feeds_of
from build.declaration import Stage
from build.evaluation.offline import Ensembles, Network, deep_inputs, ordered, session
from build.evaluation.panel import Panel, Verdict, check_read, tau
from build.frontier.grid import Grid
from build.frontier.timing import timed
from build.release.gate import compared
from build.stages import Originals, Stages
from build.training.models import CrossEncoder, Encoder
from build.training.narrow import multiplications
from build.workspace import Workspace
from shelfbridge.contract import SHORTLIST
from shelfbridge.errors import ArtefactError
from shelfbridge.retrieval import Shortlist

TIMED = 24
"""Requests that are timed, in turn."""
PIECES = {"encoder": 10, "cross_encoder": 80}
"""Word pieces of a query, and of a query with a product, at which arithmetic is counted."""


@dataclass
class Row:
    """One candidate in one precision. `dev` and `all` compare nDCG@10 with the fp32 teacher: gate.compared."""

    network: Network
    name: str
    precision: str
    multiply_adds: int | None
    """Per query, or per product read by the cross-encoder."""
    megabytes: float
    dev: dict[str, float]
    all: dict[str, float]
    alone: float | None
    """The cross-encoder's nDCG@10 on dev where its logits alone order the shortlist."""
    tau: float
    ms: float | None = None
    per_second: float | None = None
    served: bool = False
    chosen: bool = False


@dataclass(frozen=True)
class Candidate:
    """A network in all its precisions. `multiply_adds`: as Row has them."""

    network: Network
    name: str
    folder: Path
    multiply_adds: int | None

    @property
    def files(self) -> dict[str, Path]:
        """What is measured, by precision; of one whose compression was refused, its fp32 graph alone."""
        if not (self.folder / "fp32.onnx").exists():
            return {"fp32": self.folder / "model.onnx"}
        int8 = "int8.onnx" if self.network == "ranker" else "model.onnx"
        files = {"fp32": "fp32.onnx", "int8": int8, "fp16": "fp16.onnx"}
        there = {"fp32", *(name for name in ("int8", "fp16") if (self.folder / f"{name}.onnx").exists())}
        return {precision: self.folder / file for precision, file in files.items() if precision in there}


@dataclass(frozen=True)
class Workbench:
    """Everything that candidates are made with and judged by."""

    stages: Stages
    space: Workspace
    panel: Panel
    whole: Ensembles
    refused: list[str] = field(default_factory=list)
    """Candidates whose compressed forms could not be used, and why."""

    @property
    def made(self) -> Originals:
        """The fine-tuned networks."""
        return self.stages.originals

    @property
    def console(self) -> Console:
        """For the progress."""
        return self.stages.shop.console

    def rows(self, grid: Grid) -> list[Row]:
        """All candidates, judged; timed where the CPU serves such a file; the best of each network marked."""
        rows = []
        made: dict[Network, list[Candidate]] = {
            "encoder": self._encoders(grid),
            "ranker": [self._ranker()],
            "cross_encoder": self._cross_encoders(grid),
        }
        for network, candidates in made.items():
            some = self._judged(candidates)
            self._time(network, candidates, some)
            choose(some, self.stages.shop.settings.compression.budget)
            rows += some
        return rows

    def _encoders(self, grid: Grid) -> list[Candidate]:
        trained = {"teacher": self.made.encoder}
        trained |= {str(one.shape): self.stages.encoder_student(one) for one in grid.encoders}
        return [
            self._candidate("encoder", name, self.stages.encoder_graph(one), Encoder.load(self.space.run(one)).trunk)
            for name, one in trained.items()
        ]

    def _ranker(self) -> Candidate:
        return self._candidate("ranker", "teacher", self.made.ranker)

    def _cross_encoders(self, grid: Grid) -> list[Candidate]:
        trained = {"teacher": self.made.cross_encoder}
        trained |= {str(one.shape): self.stages.cross_encoder_student(one) for one in grid.cross_encoders}
        return [
            self._candidate(
                "cross_encoder", name, self.stages.blended(one), CrossEncoder.load(self.space.run(one)).trunk
            )
            for name, one in trained.items()
        ]

    def _candidate(self, network: Network, name: str, graph: Stage, trunk: PreTrainedModel | None = None) -> Candidate:
        length = PIECES.get(network, 0)
        cost = None if trunk is None else length * multiplications(trunk, length)
        try:
            folder = self.space.run(self.stages.compressed(network, graph))
            refused = json.loads((folder / "compression.json").read_text()).get("refused")
        except ArtefactError as error:
            folder, refused = self.space.run(graph), error
            self.console.print(f"  {network} {name}: {error}", highlight=False, markup=False)
        if refused:
            self.refused.append(f"{network} {name}: {refused}")
        return Candidate(network, name, folder, cost)

    def _judged(self, candidates: Sequence[Candidate]) -> list[Row]:
        rows: list[Row] = []
        dev = self.panel.dev
        teacher: Verdict | None = None
        for candidate in candidates:
            for precision, file in candidate.files.items():
                verdict, alone = self._verdicts(candidate.network, session(file, threads=0))
                teacher = teacher or verdict
                rows.append(
                    Row(
                        network=candidate.network,
                        name=candidate.name,
                        precision=precision,
                        multiply_adds=candidate.multiply_adds,
                        megabytes=file.stat().st_size / 1e6,
                        dev=compared(teacher.first(dev), verdict.first(dev)),
                        all=compared(teacher, verdict),
                        alone=None if alone is None else float(alone.ndcg[:dev].mean()),
                        tau=tau(teacher.rankings, verdict.rankings),
                        served=self._served(candidate, precision),
                    )
                )
        return rows

    def _verdicts(self, network: Network, running: Any) -> tuple[Verdict, Verdict | None]:
        """With a session in a network's place; and what a cross-encoder's logits alone make of the shortlists."""
        if network != "cross_encoder":
            return self.panel.judge(self.whole.with_networks({network: running}), "ranked", self.console), None
        deep, alone = [], []
        ensembles = self.whole.with_networks({network: running})
        for one in self.shortlists:
            rows, scores = ensembles.read(one)
            check_read(one, scores)
            deep.append(ordered(rows, scores))
            alone.append(ordered(rows[:SHORTLIST], (scores - one.scores)[:SHORTLIST]))
        return self.panel.verdict(deep), self.panel.verdict(alone)

    @cached_property
    def shortlists(self) -> list[Shortlist]:
        """What the fp32 networks before it show to the cross-encoder, by query."""
        return [self.whole.shortlist(query) for query in self.panel.judgments.queries.values()]

    def _served(self, candidate: Candidate, precision: str) -> bool:
        settings = self.stages.shop.settings
        students = {"encoder": settings.encoder_student, "cross_encoder": settings.cross_encoder_student}
        student = students.get(candidate.network)
        on_cpu = "fp32" if candidate.network == "ranker" else settings.compression.precision
        return candidate.name == (str(student.shape) if student else "teacher") and precision == on_cpu

    def _time(self, network: Network, candidates: Sequence[Candidate], rows: Sequence[Row]) -> None:
        graphs = {
            f"{one.name} {precision}": file
            for one in candidates
            for precision, file in one.files.items()
            if precision != "fp16"
        }
        if network == "cross_encoder":
            feeds = [deep_inputs(one) for one in self.shortlists[:TIMED]]
        else:
            batches = feeds_of(self.space.run(self.made.feeds), network)[:TIMED]
            feeds = [{name: array[:1] for name, array in batch.items()} for batch in batches]
        figures = timed(graphs, feeds, self.console)
        for row in rows:
            found = figures.get(f"{row.name} {row.precision}", {})
            row.ms, row.per_second = found.get("ms"), found.get("per_second")


def choose(rows: Sequence[Row], budget: float) -> None:
    """Mark the quickest candidate of a network whose nDCG@10 is within the budget of the fp32 teacher's.

    On dev and over all of the panel. The budget is that of a release, so that what is marked can be released.
    """
    good = [row for row in rows if row.ms and min(row.all["difference"], row.dev["difference"]) >= -budget]
    if good:
        min(good, key=lambda row: row.ms or 0).chosen = True
