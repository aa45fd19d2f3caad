"""The networks of a shelf, from fp32 to what is served: each form is held against fp32.

They are small: on a CPU int8 may have more to convert than to multiply. So it is served only where there is enough to
multiply, which is counted: timings of so short a run would choose by noise, and equal builds would differ.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from rich.console import Console

from build.compression import fp16, qdq
from build.compression.fidelity import Feed
from build.compression.quantise import LEAST_ROWS, LEAST_WORK, quantise
from build.evaluation.offline import session
from build.release.publish import hard_link
from build.settings import Compression
from build.shelf.metrics import measure
from build.shelf.network import export_head, export_user_encoder
from build.shelf.ranker import Shelf
from build.shelf.split import Case
from build.shelf.train import Users, inputs_of
from shelfbridge.contract import MODELS, SHELF_CANDIDATES, SHELF_SIGNALS_TENSOR
from shelfbridge.errors import ArtefactError
from shelfbridge.shelf.history import History
from shelfbridge.shelf.signals import padded

CALIBRATED = 256
"""Histories that ranges are measured on."""
LISTS = 128
"""Lists of each window that the ranker of shelves is compared on in fp16."""


def write_encoder(
    folder: Path, users: Users, *, known: Sequence[Case], some: Sequence[Case], chosen: Compression, console: Console
) -> None:
    """Write `model.onnx` and `fp32.onnx`, as settings have it `int8.onnx` and `fp16.onnx`, and `compression.json`.

    int8 is served on the CPU if it costs no more than the budget in recall@20 and has enough to multiply there.

    Ranges are measured on the histories of the baskets that are `known`, and of too few fp32 alone comes; the forms are
    compared on `some`.
    """
    export_user_encoder(folder, users.encoder)
    fp32 = (folder / "model.onnx").rename(folder / "fp32.onnx")
    feeds = [_feed(users, case.history) for case in known[-CALIBRATED:]]
    enough = len(feeds) >= LEAST_ROWS
    record: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=folder) as place:
        served = {"fp32": fp32}
        if chosen.half and enough:
            fp16.halve(folder, graph=fp32, feeds=feeds)
            served["fp16"] = folder / "fp16.onnx"
        if chosen.precision == "int8" and enough:
            try:
                quantise(Path(place), graph=fp32, feeds=feeds, method=chosen.methods[0], console=console)
                Path(place, "int8.onnx").rename(folder / "int8.onnx")
                served["int8"] = Path(place, "model.onnx")
            except ArtefactError as error:
                record["refused"] = str(error)
        recalls = {name: _recall(file, users, some) for name, file in served.items()}
        record["forms"] = {name: {"recall": recall} for name, recall in recalls.items()}
        record["served"], record["why"] = choose(recalls, qdq.work_per_value(onnx.load(fp32)), chosen.budget)
        hard_link(served[record["served"]], folder / "model.onnx")
    (folder / "compression.json").write_text(json.dumps(record, indent=2) + "\n")
    told = ", ".join(f"{name} {recall:.4f}" for name, recall in recalls.items())
    line = f"  user encoder, recall@20: {told}; {record['served']} is served: {record['why']}"
    console.print(line, highlight=False, soft_wrap=True)


def choose(recalls: Mapping[str, float], work: float, budget: float) -> tuple[str, str]:
    """Return the form that is served on a CPU, and why, by the recall@20 of each and by `qdq.work_per_value`.

    The budget is the recall@20 that int8 may cost.
    """
    if "int8" not in recalls:
        return "fp32", "there is no int8 form"
    why = f"{work:.0f} multiply-adds for each value that int8 converts; it is quicker from {LEAST_WORK} on"
    if work < LEAST_WORK:
        return "fp32", why
    lost = recalls["fp32"] - recalls["int8"]
    return "int8" if lost <= budget else "fp32", f"{why}; it costs {lost:.4f} recall@20 of {budget:g} allowed"


def write_head(folder: Path, shelf: Shelf) -> None:
    """Write `model.onnx`, the same as `fp32.onnx`, and of enough lists `fp16.onnx` for engines of either precision."""
    export_head(folder, shelf.head)
    hard_link(folder / "model.onnx", folder / "fp32.onnx")
    lists = [row[:SHELF_CANDIDATES].numpy() for one in shelf.lessons for row in one.signals[:LISTS]]
    if len(lists) >= LEAST_ROWS:
        feeds = [{SHELF_SIGNALS_TENSOR.name: padded(row, SHELF_CANDIDATES)[None]} for row in lists]
        fp16.halve(folder, graph=folder / "fp32.onnx", feeds=feeds)


def _feed(users: Users, history: History) -> Feed:
    items, *others = (tensor.numpy() for tensor in inputs_of([history]))
    names = (tensor.name for tensor in MODELS["user_encoder"].inputs)
    return dict(zip(names, (users.items[items], *others), strict=True))


def _recall(graph: Path, users: Users, some: Sequence[Case]) -> float:
    """Return the mean recall@20 of baskets by a form's vectors."""
    network = session(graph)
    vectors = [network.run(None, _feed(users, case.history))[0][0] for case in some]
    return measure(some, list(np.stack(vectors) @ users.items.T)).mean("overall", "recall")
