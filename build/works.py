"""What stages do that takes more than one function of a room: the glue between declared stages and those functions."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from build import compress as compression
from build import evaluate as evaluation
from build import export, prune
from build import gate as gating
from build.declaration import Data
from build.models import CrossEncoder, Encoder
from build.narrow import layers_of, shape_of
from build.offline import Ensembles
from build.panel import Network, Panel, with_network
from build.panel import Stage as Judged
from build.recommend import learn, train
from build.settings import Compression, Shape, ShelfSettings
from shelfbridge.catalogue import Catalogue, Judgments, Split


def prunable(folder: Path, *, bases: Sequence[str]) -> None:
    """Refuse base models that cannot be pruned.

    Raises:
        ArtefactError: one cannot.
    """
    layers = {base: len(layers_of(Encoder(base).trunk)) for base in bases}
    (folder / "layers.json").write_text(json.dumps(layers, indent=1) + "\n")


def prune_encoder(folder: Path, *, shape: Shape, model: Path, **known: Any) -> None:
    """An encoder with as much of a shape as it has."""
    prune.prune_encoder(folder, model=model, shape=shape.within(shape_of(Encoder.load(model).trunk)), **known)


def prune_cross_encoder(folder: Path, *, shape: Shape, model: Path, **known: Any) -> None:
    """A cross-encoder with as much of a shape as it has."""
    shape = shape.within(shape_of(CrossEncoder.load(model).trunk))
    prune.prune_cross_encoder(folder, model=model, shape=shape, **known)


def export_reader(folder: Path, *, trained: Path, blend: Path) -> None:
    """A cross-encoder's graph with the weight that was chosen for it."""
    export.export_cross_encoder(folder, trained=trained, weight=float(np.load(blend / "blend.npy")))


def ensembles(
    *, tokenizer: Path, graph: Path, index: Path, ranker_graph: Path, pieces: Path, reader_graph: Path
) -> Ensembles:
    """All steps in this process, from the folders of stages."""
    return Ensembles.open(
        tokenizer=tokenizer,
        encoder=graph / "model.onnx",
        index=index,
        ranker=ranker_graph / "model.onnx",
        pieces=pieces,
        cross_encoder=reader_graph / "model.onnx",
    )


def compress(
    folder: Path,
    *,
    network: Network,
    network_graph: Path,
    feeds: Path,
    catalogue: Catalogue,
    judgments: Judgments,
    chosen: Compression,
    console: Console,
    **folders: Path,
) -> None:
    """One network in every form, each judged beside the originals in `folders`."""
    whole = ensembles(**folders)
    stage: Judged = "deep" if network == "cross_encoder" else "ranked"
    panel, _ = Panel.apart(catalogue, judgments, chosen.queries)

    def judge(running: Any) -> float:
        return float(panel.judge(with_network(whole, network, running), stage, console).ndcg.mean())

    compression.compress(
        folder, network=network, graph=network_graph, feeds=feeds, chosen=chosen, judge=judge, console=console
    )


def gate(
    folder: Path,
    *,
    served_encoder: Path,
    served_ranker: Path,
    served_cross_encoder: Path,
    catalogue: Catalogue,
    judgments: Judgments,
    chosen: Compression,
    console: Console,
    student_encoder: Path | None = None,
    student_cross_encoder: Path | None = None,
    **folders: Path,
) -> None:
    """Hold the originals in `folders` against each step of compression.

    The ranker is no step: its CPU form stays in fp32, so `served_ranker` only has the gate run again with it.
    """
    del served_ranker
    students: tuple[tuple[Network, str, Path | None], ...] = (
        ("encoder", "encoder", student_encoder),
        ("cross_encoder", "cross-encoder", student_cross_encoder),
    )
    served: dict[Network, Path] = {"encoder": served_encoder, "cross_encoder": served_cross_encoder}
    quantised = chosen.precision == "int8"
    steps = []
    for network, name, student in students:
        if student is not None:
            steps.append(gating.Step(f"distilling the {name}", network, student / "model.onnx"))
        if quantised:
            steps.append(gating.Step(f"quantising the {network}", network, served[network] / "model.onnx"))
    gating.gate(
        folder,
        originals=ensembles(**folders),
        steps=steps,
        panel=Panel.apart(catalogue, judgments, chosen.queries)[1],
        budget=chosen.budget,
        console=console,
    )


def learn_shelf(
    folder: Path,
    *,
    behaviour: learn.Behaviour,
    index: Path,
    products: Data,
    trained: ShelfSettings,
    compression: Compression,
    place: str,
    console: Console,
) -> None:
    """A shelf's networks and products. Other vectors in `index` have it learn again; other prices do not."""
    learn.learn(
        folder,
        behaviour=behaviour,
        index=index,
        prices=np.array([product.price for product in products.value.products], np.float32),
        settings=train.Settings(
            training=trained.training,
            refresh=trained.refresh,
            head_epochs=trained.head_epochs,
            baskets=trained.baskets,
        ),
        compression=compression,
        weeks=trained.weeks,
        place=place,
        console=console,
    )


def evaluate(
    folder: Path,
    *,
    release: Path,
    catalogue: Catalogue,
    judgments: Judgments,
    split: Split,
    console: Console,
    **parts: Path,
) -> None:
    """The figures of a release; its `parts` say when they are to be taken again."""
    del parts
    evaluation.evaluate(folder, release=release, catalogue=catalogue, judgments=judgments, split=split, console=console)


def measure_tokens(folder: Path, *, tokenizer: Path, graph: Path, **known: Any) -> None:
    """The frontier of the stored token vectors."""
    from build.frontier.tokens import measure  # draws, which no build does

    measure(folder, tokenizer=tokenizer / "tokenizer.json", encoder=graph / "model.onnx", **known)
