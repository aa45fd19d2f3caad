"""What stages do that takes more than one function of a room: the glue between declared stages and those functions."""

import filecmp
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from build.compression import export
from build.compression import forms as compression
from build.declaration import Data
from build.evaluation.offline import Ensembles, Network
from build.evaluation.panel import Panel
from build.evaluation.panel import Stage as Judged
from build.release.publish import hard_link
from build.settings import Compression, ShelfSettings
from build.shelf import learn
from build.training import ranker as ranking
from build.training.models import Encoder
from build.training.narrow import layers_of
from shelfbridge.catalogue import Catalogue, Judgments


def prunable(folder: Path, *, bases: Sequence[str]) -> None:
    """Refuse base models that cannot be pruned.

    Raises:
        ArtefactError: one cannot.
    """
    layers = {base: len(layers_of(Encoder(base).trunk)) for base in bases}
    (folder / "layers.json").write_text(json.dumps(layers, indent=1) + "\n")


def export_reader(folder: Path, *, trained: Path, blend: Path) -> None:
    """A cross-encoder's graph with the weight that was chosen for it; with the least one where that is 0.

    Whether it is served is decided elsewhere: a graph of weight 0 could not be judged or quantised.
    """
    export.export_cross_encoder(folder, trained=trained, weight=ranking.weight_of(blend) or ranking.BLENDS[1])


def same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same `model.onnx`."""
    return filecmp.cmp(one / "model.onnx", other / "model.onnx", shallow=False)


def link(source: Path, target: Path, *but: str) -> None:
    """Put a folder's files into another one, as links, but for some names."""
    ignore = shutil.ignore_patterns(*but)
    shutil.copytree(source, target, copy_function=hard_link, dirs_exist_ok=True, ignore=ignore)


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
    served_encoder: Path | None = None,
    served_ranker: Path | None = None,
    left_out: Path | None = None,
    **folders: Path,
) -> None:
    """One network in every form, each judged beside the originals in `folders` and what is served before it.

    The graph of a cross-encoder that is left out is passed on: there is nothing in it to compress.
    """
    if left_out is not None and same(network_graph, left_out):
        link(left_out, folder)
        return
    before: dict[Network, Path | None] = {"encoder": served_encoder, "ranker": served_ranker}
    whole = Ensembles.open(**folders).with_networks({one: place for one, place in before.items() if place is not None})
    stage: Judged = "deep" if network == "cross_encoder" else "ranked"
    panel, _ = Panel.apart(catalogue, judgments, chosen.queries)

    def judge(running: Any) -> float:
        return float(panel.judge(whole.with_networks({network: running}), stage, console).ndcg.mean())

    compression.compress(
        folder, network=network, graph=network_graph, feeds=feeds, chosen=chosen, judge=judge, console=console
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
        settings=trained,
        compression=compression,
        place=place,
        console=console,
    )


def measure_tokens(folder: Path, *, tokenizer: Path, graph: Path, **known: Any) -> None:
    """The frontier of the stored token vectors."""
    from build.frontier.tokens import measure  # draws, which no build does

    measure(folder, tokenizer=tokenizer / "tokenizer.json", encoder=graph / "model.onnx", **known)
