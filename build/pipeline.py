"""From a shop's data to a published release: the originals, what compression makes of them, the best that passes."""

import filecmp
import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from build import gate, release
from build.models import Encoder
from build.narrow import layers_of
from build.offline import Ensembles
from build.panel import Network
from build.recommend.learn import PARTS_OF_RELEASE, RECORD
from build.settings import Student
from build.stages import Originals, Shop, Stages
from build.workspace import Workspace
from shelfbridge.errors import ArtefactError


@dataclass
class Serving:
    """What will be served, decided network by network: each candidate takes its place if it passes the gate."""

    stages: Stages
    made: Originals
    originals: Ensembles
    """All steps with the fine-tuned networks in fp32, which candidates are held against."""
    parts: dict[Network, Path] = field(default_factory=dict)
    """Folder of each network in the forms that are served."""
    decisions: dict[str, dict[str, object]] = field(default_factory=dict)
    """What was decided of each candidate, by its name."""

    @property
    def steps(self) -> Ensembles:
        """All steps with what was decided so far."""
        return gate.with_networks(
            self.originals, {network: folder / "model.onnx" for network, folder in self.parts.items()}
        )

    @property
    def query_encoder(self) -> Path:
        """Folder of the `model.onnx` that reads queries: that of the originals where it is the same."""
        served, original = self.parts["encoder"], self.made.encoder_graph
        return original if filecmp.cmp(served / "model.onnx", original / "model.onnx", shallow=False) else served

    @property
    def context(self) -> dict[str, Path]:
        """What was decided so far, as stages are told what they were made from."""
        return {f"beside_{network}": folder for network, folder in self.parts.items()}

    def passes(self, name: str, network: Network, folder: Path) -> bool:
        """Whether a network in `folder` may be served, judged among what was decided before."""
        shop, settings = self.stages.shop, self.stages.shop.settings
        record = self.stages.space.stage(
            f"gate-{folder.parent.name}",
            partial(
                gate.decide,
                candidate=gate.Candidate(name, network, folder / "model.onnx"),
                originals=self.originals,
                served=self.steps,
                panel=shop.panel.judging,
                margin=settings.compression.budget,
                console=shop.console,
            ),
            of=settings.compression,
            candidate=folder,
            originals=(self.made.encoder_graph.name, self.made.ranker_graph.name, self.made.cross_encoder.name),
            **self.context,
        )
        decision = gate.Decision.read(record)
        self.decisions[name] = {"passed": decision.passed, "reason": decision.reason, **decision.figures}
        return decision.passed

    def encoder(self, student: Student | None) -> None:
        """Decide which encoder reads queries, and in which precision."""
        graph = self.made.encoder_graph
        if student is not None:
            smaller = self.stages.encoder_graph(self.stages.encoder_student(self.made, student))
            if self.passes("the encoder's student", "encoder", smaller):
                graph = smaller
        self.parts["encoder"] = self.quantised("encoder", graph)

    def ranker(self, *, learn: bool = True) -> Path:
        """Fit the ranker's head to what the served encoder makes of queries.

        Returns:
            Folder of the head.
        """
        made = self.made
        head = self.stages.head(
            tokenizer=made.tokenizer,
            graph=self.query_encoder,
            index=made.index,
            pieces=made.pieces,
            teacher=made.cross_encoder,
            learn=learn,
            name="ranker" if learn and self.query_encoder == made.encoder_graph else "ranker-served",
        )
        graph = self.stages.head_graph(head)
        self.parts["ranker"] = self.stages.compressed(made, "ranker", graph, beside=self.steps)
        return head

    def cross_encoder(self, student: Student | None, head: Path) -> None:
        """Decide which cross-encoder reads the shortlist, and in which precision; none where it does not help."""
        stages, made, encoder = self.stages, self.made, self.query_encoder
        weight = stages.blend(made, made.cross_encoder, encoder, head)
        if not weight:
            self.decisions["the cross-encoder"] = {
                "passed": False,
                "reason": "dev cannot tell that it helps; search_deep serves the ranker's order",
            }
            self.parts["cross_encoder"] = stages.ranker_alone()
            return
        graph = stages.reader_graph(made.cross_encoder, weight)
        if student is not None:
            reader = stages.cross_encoder_student(made, student)
            smaller = stages.reader_graph(reader, stages.blend(made, reader, encoder, head))
            if self.passes("the cross-encoder's student", "cross_encoder", smaller):
                graph = smaller
        self.parts["cross_encoder"] = self.quantised("cross_encoder", graph)

    def quantised(self, network: Network, graph: Path) -> Path:
        """Folder of a network in the precision of the settings, or in fp32 where that does not pass.

        Raises:
            ArtefactError: the caller asked for the precision by name, and it does not pass.
        """
        compression, name = self.stages.shop.settings.compression, f"the {network.replace('_', '-')} in int8"
        if compression.precision == "int8":
            try:
                folder = self.stages.compressed(self.made, network, graph, beside=self.steps, context=self.context)
            except ArtefactError as error:
                self.decisions[name] = {"passed": False, "reason": str(error)}
            else:
                if self.passes(name, network, folder):
                    return folder
            if compression.insisted:
                raise ArtefactError(
                    f"{name} does not pass: {self.decisions[name]['reason']}. It was asked for by --precision int8: "
                    "leave that out to get fp32 where int8 does not pass, or allow more loss with --budget"
                )
        return self.stages.compressed(
            self.made, network, graph, beside=self.steps, precision="fp32", context=self.context
        )

    def all_stages(self) -> gate.Decision:
        """Hold each stage against the one before it, all as they will be served."""
        shop = self.stages.shop
        record = self.stages.space.stage(
            "gate-stages",
            partial(gate.stages, served=self.steps, panel=shop.panel.judging, console=shop.console),
            index=self.made.index,
            **self.context,
        )
        return gate.Decision.read(record)


def decided(stages: Stages, made: Originals) -> Serving:
    """Decide what is served: the smallest and coarsest networks that pass, and no order worse than its own words.

    Raises:
        ArtefactError: the caller asked for a precision by name, and it does not pass.
    """
    settings = stages.shop.settings
    serving = Serving(stages, made, made.ensembles(stages.blended(made, made.cross_encoder)))
    serving.encoder(settings.encoder_student)
    head = serving.ranker()
    serving.cross_encoder(settings.cross_encoder_student, head)
    last = serving.all_stages()
    if "ranked" in last.figures["worse"]:
        serving.decisions["the learned ranker"] = {"passed": False, "reason": last.reason}
        serving.cross_encoder(settings.cross_encoder_student, serving.ranker(learn=False))
        last = serving.all_stages()
    if "deep" in last.figures["worse"]:
        serving.decisions["the cross-encoder"] = {"passed": False, "reason": last.reason}
        serving.parts["cross_encoder"] = stages.ranker_alone()
        last = serving.all_stages()
    serving.decisions["all stages"] = {"passed": last.passed, "reason": last.reason, **last.figures}
    return serving


def build(out: Path, shop: Shop) -> Path:
    """Run all stages and publish the best release that passes.

    Returns:
        Folder of the release. Its manifest says under `decisions` what passed the gate and what did not.

    Raises:
        ArtefactError: a network cannot be used, or what the caller asked for by name does not pass; what was current
            stays.
    """
    space, settings = Workspace(out / "stages", shop.console), shop.settings
    stages = Stages(space, shop)
    if settings.encoder_student or settings.cross_encoder_student:
        for base in {settings.base, settings.teacher or settings.base}:
            layers_of(Encoder(base).trunk)  # refused now, not after hours of training
    made = stages.originals()
    serving = decided(stages, made)
    shelf: dict[str, Path] = {}
    about: dict[str, object] = {}
    if shop.behaviour is not None:
        learned = stages.shelf(made, shop.behaviour)
        shelf = {part: learned / part for part in PARTS_OF_RELEASE}
        about["shelf"] = json.loads((learned / RECORD).read_text())
    return release.publish(
        out / "releases",
        parts={
            "preprocess": made.tokenizer,
            "retrieve": made.index,
            "shortlist": made.pieces,
            "postprocess": made.store,
            **{str(network): folder for network, folder in serving.parts.items()},
            **shelf,
        },
        extra={
            "lengths.json": made.feeds / "lengths.json",
            release.PRODUCT_ENCODER: made.encoder_graph / "model.onnx",
        },
        about={
            "base": settings.base,
            "teacher": settings.teacher or settings.base,
            "data": shop.data,
            "pairs": len(shop.foreign.rows),
            "originals": made.networks,
            "decisions": serving.decisions,
            **about,
        },
    )
