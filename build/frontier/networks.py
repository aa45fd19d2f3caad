"""The candidates of each network: made by the stages of a build, judged by nDCG@10, timed."""

import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import TypeAdapter
from rich.console import Console

from build.compression.calibration import feeds_of
from build.declaration import Stage
from build.evaluation.offline import Ensembles, Network, deep_inputs, ordered, session
from build.evaluation.panel import Panel, Verdict, added, tau
from build.frontier.timing import timed
from build.release.gate import compared
from build.settings import Student
from build.stages import Stages
from build.training.models import CrossEncoder, Encoder
from build.training.narrow import multiplications
from build.workspace import Workspace
from shelfbridge.contract import SHORTLIST
from shelfbridge.errors import ArtefactError
from shelfbridge.retrieval import Shortlist

TIMED = 24
"""Requests that are timed, in turn."""
PIECES = {"encoder": 10, "ranker": 0, "cross_encoder": 80}
"""Word pieces of a query, and of a query with a product, at which arithmetic is counted."""


@dataclass(frozen=True)
class Grid:
    """Students beside the fine-tuned networks themselves."""

    encoders: tuple[Student, ...]
    cross_encoders: tuple[Student, ...]


GRIDS = TypeAdapter(dict[str, Grid]).validate_python(
    tomllib.loads(Path(__file__).with_name("grids.toml").read_text(encoding="utf-8"))
)
"""By preset of a build."""


Row = dict[str, Any]
"""One candidate in one precision, as the report's JSON has it.

`dev` and `all` compare nDCG@10 with the fp32 teacher's (`gate.compared`); `alone` is the cross-encoder's on dev where
its logits alone order the shortlist.
"""


@dataclass(frozen=True)
class Candidate:
    """A network in one precision. `multiply_adds`: per query, or per product read by the cross-encoder."""

    name: str
    precision: str
    file: Path
    multiply_adds: int | None


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
    def console(self) -> Console:
        """For the progress."""
        return self.stages.shop.console

    def rows(self, grid: Grid) -> list[Row]:
        """All candidates, judged; timed where the CPU serves such a file; the best of each network marked."""
        made: dict[Network, list[Candidate]] = {}
        for network, name, graph, trained in self._graphs(grid):
            cost, files = self._multiply_adds(network, trained), self._files(network, name, graph)
            some = [Candidate(name, precision, file, cost) for precision, file in files.items()]
            made.setdefault(network, []).extend(some)
        rows: list[Row] = []
        for network, candidates in made.items():
            judged = self._judged(network, candidates)
            choose(judged, self.stages.shop.settings.compression.budget)
            rows += judged
        return rows

    def _graphs(self, grid: Grid) -> Iterator[tuple[Network, str, Stage, Stage | None]]:
        """Network, name, graph, and what it was exported from, of each candidate."""
        stages, made = self.stages, self.stages.originals
        encoders = {str(one.shape): stages.encoder_student(one) for one in grid.encoders}
        for name, one in {"teacher": made.encoder, **encoders}.items():
            yield "encoder", name, stages.encoder_graph(one), one
        yield "ranker", "teacher", made.ranker, None
        readers = {str(one.shape): stages.cross_encoder_student(one) for one in grid.cross_encoders}
        for name, one in {"teacher": made.cross_encoder, **readers}.items():
            yield "cross_encoder", name, stages.blended(one), one

    def _multiply_adds(self, network: Network, trained: Stage | None) -> int | None:
        if trained is None:
            return None
        model = Encoder if network == "encoder" else CrossEncoder
        return PIECES[network] * multiplications(model.load(self.space.run(trained)).trunk, PIECES[network])

    def _files(self, network: Network, name: str, graph: Stage) -> dict[str, Path]:
        """What is measured, by precision; of one whose compression was refused, its fp32 graph alone."""
        try:
            folder = self.space.run(self.stages.compressed(network, graph))
            refused = json.loads((folder / "compression.json").read_text()).get("refused")
        except ArtefactError as error:
            folder, refused = self.space.run(graph), error
            self.console.print(f"  {network} {name}: {error}", highlight=False, markup=False)
        if refused:
            self.refused.append(f"{network} {name}: {refused}")
        if not (folder / "fp32.onnx").exists():
            return {"fp32": folder / "model.onnx"}
        files = {name: folder / f"{name}.onnx" for name in ("fp32", "int8", "fp16")}
        made = {name: file for name, file in files.items() if file.exists()}
        if "int8" in made and network != "ranker":
            made["int8"] = folder / "model.onnx"
        return made

    def _judged(self, network: Network, candidates: Sequence[Candidate]) -> list[Row]:
        times = timed(
            {one: one.file for one in candidates if one.precision != "fp16"}, self._feeds(network), self.console
        )
        dev = self.panel.dev
        rows: list[Row] = []
        teacher: Verdict | None = None
        for one in candidates:
            verdict, alone = self._verdicts(network, session(one.file, threads=0))
            teacher = teacher or verdict
            rows.append(
                {
                    "network": network,
                    "name": one.name,
                    "precision": one.precision,
                    "multiply_adds": one.multiply_adds,
                    "megabytes": one.file.stat().st_size / 1e6,
                    "dev": compared(teacher.first(dev), verdict.first(dev)),
                    "all": compared(teacher, verdict),
                    "alone": None if alone is None else float(alone.ndcg[:dev].mean()),
                    "tau": tau(teacher.rankings, verdict.rankings),
                    **times.get(one, {"ms": None, "per_second": None}),
                    "served": self._served(network, one),
                }
            )
        return rows

    def _feeds(self, network: Network) -> list[dict[str, NDArray[Any]]]:
        """Inputs of the requests that are timed."""
        if network == "cross_encoder":
            return [deep_inputs(one) for one in self.shortlists[:TIMED]]
        batches = feeds_of(self.space.run(self.stages.originals.feeds), network)[:TIMED]
        return [{name: array[:1] for name, array in batch.items()} for batch in batches]

    def _verdicts(self, network: Network, running: Any) -> tuple[Verdict, Verdict | None]:
        """With a session in a network's place; and what a cross-encoder's logits alone make of the shortlists."""
        ensembles = self.whole.with_networks({network: running})
        if network != "cross_encoder":
            return self.panel.judge(ensembles, "ranked", self.console), None
        deep, alone, given = [], [], []
        for one in self.shortlists:
            rows, scores = ensembles.read(one)
            given.append(added(one, scores))
            deep.append(ordered(rows, scores))
            alone.append(ordered(rows[:SHORTLIST], (scores - one.scores)[:SHORTLIST]))
        self.panel.check(given, network)
        return self.panel.verdict(deep), self.panel.verdict(alone)

    @cached_property
    def shortlists(self) -> list[Shortlist]:
        """What the fp32 networks before it show to the cross-encoder, by query."""
        return [self.whole.shortlist(query) for query in self.panel.judgments.queries.values()]

    def _served(self, network: Network, one: Candidate) -> bool:
        settings = self.stages.shop.settings
        students = {"encoder": settings.encoder_student, "cross_encoder": settings.cross_encoder_student}
        student = students.get(network)
        on_cpu = "fp32" if network == "ranker" else settings.compression.precision
        return one.name == (str(student.shape) if student else "teacher") and one.precision == on_cpu


def choose(rows: Sequence[Row], budget: float) -> None:
    """Mark the quickest candidate of a network whose nDCG@10 is within the budget of the fp32 teacher's.

    On dev and over all of the panel. The budget is that of a release, so that what is marked can be released.
    """
    good = [row for row in rows if row["ms"] and min(row["all"]["difference"], row["dev"]["difference"]) >= -budget]
    best = min(good, key=lambda row: row["ms"], default=None)
    for row in rows:
        row["chosen"] = row is best
