"""From a shop's data to a published release: the originals, what compression makes of them, the gate."""

import json
from functools import partial
from pathlib import Path

from build import gate, release
from build.models import Encoder
from build.narrow import layers_of
from build.panel import Network
from build.recommend.learn import PARTS_OF_RELEASE, RECORD
from build.stages import Shop, Stages
from build.workspace import Workspace


def build(out: Path, shop: Shop) -> Path:
    """Run all stages and publish.

    Returns:
        Folder of the release.

    Raises:
        ArtefactError: a network cannot be used, or compression costs more than its budget; what was current stays.
    """
    space, settings = Workspace(out / "stages", shop.console), shop.settings
    stages = Stages(space, shop)
    if settings.encoder_student or settings.cross_encoder_student:
        for base in {settings.base, settings.teacher or settings.base}:
            layers_of(Encoder(base).trunk)  # refused now, not after hours of training
    made = stages.originals()
    reader, steps = made.cross_encoder, []
    teacher_graph = stages.blended(made, reader)
    graphs: dict[Network, Path] = {
        "encoder": made.encoder_graph,
        "ranker": made.ranker_graph,
        "cross_encoder": teacher_graph,
    }
    if settings.encoder_student:
        student = stages.encoder_student(made, settings.encoder_student)
        graphs["encoder"] = stages.encoder_graph(student)
        steps.append(gate.Step("distilling the encoder", "encoder", graphs["encoder"] / "model.onnx"))
    if settings.cross_encoder_student:
        reader = stages.cross_encoder_student(made, settings.cross_encoder_student)
        graphs["cross_encoder"] = stages.blended(made, reader)
    whole = made.ensembles(teacher_graph)
    parts: dict[str, Path] = {}
    for network, graph in graphs.items():
        parts[network] = stages.compressed(made, network, graph, whole)
        if network == "cross_encoder" and settings.cross_encoder_student:
            steps.append(gate.Step("distilling the cross-encoder", network, graph / "model.onnx"))
        if settings.compression.precision == "int8" and network != "ranker":  # whose CPU form stays in fp32
            steps.append(gate.Step(f"quantising the {network}", network, parts[network] / "model.onnx"))
    space.stage(
        "gate",
        partial(
            gate.gate,
            originals=whole,
            steps=steps,
            panel=shop.panels[1],
            budget=settings.compression.budget,
            console=shop.console,
        ),
        originals=(teacher_graph.name, made.ranker_graph.name, made.encoder_graph.name, made.index.name),
        of=settings.compression,
        **parts,
    )
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
            **parts,
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
            **about,
        },
    )
