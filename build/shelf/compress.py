"""The networks of a shelf, from fp32 to what is served: each form is held against fp32.

They are small: on a CPU int8 may have more to convert than to multiply. So it is served only where there is enough to
multiply, which is counted: timings of so short a run would choose by noise, and equal builds would differ.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime import InferenceSession
from rich.console import Console

from build.compression import fp16, qdq
from build.compression.fidelity import Feed
from build.compression.quantise import LEAST_ROWS, LEAST_WORK, quantise
from build.evaluation.offline import session
from build.release.publish import hard_link
from build.settings import Compression
from build.shelf.metrics import measure
from build.shelf.ranker import Lists
from build.shelf.split import Case
from build.shelf.train import Trained, inputs_of
from shelfbridge.contract import SHELF_CANDIDATES
from shelfbridge.errors import ArtefactError
from shelfbridge.shelf.history import History
from shelfbridge.shelf.signals import padded

CALIBRATED = 256
"""Histories that ranges are measured on."""
LISTS = 128
"""Lists of each window that the ranker of shelves is compared on in fp16."""
Inputs = ("event_vectors", "event_ages", "event_kinds", "event_mask")


def compress_encoder(
    folder: Path,
    *,
    users: Trained,
    known: Sequence[Case],
    some: Sequence[Case],
    chosen: Compression,
    console: Console,
) -> None:
    """Write `model.onnx` beside `fp32.onnx`, as settings have it `int8.onnx` and `fp16.onnx`, and `compression.json`.

    int8 is served on the CPU if it costs no more than the budget in recall@20 and has enough to multiply there.

    Args:
        folder: with `fp32.onnx`.
        users: what was learned.
        known: baskets whose histories ranges are measured on; of too few, fp32 alone comes.
        some: baskets that the forms are compared on.
        chosen: what is wanted.
        console: for a line.
    """
    feeds = [_feed(users, case.history) for case in known[-CALIBRATED:]]
    enough = len(feeds) >= LEAST_ROWS
    forms = {"fp32": folder / "fp32.onnx"}
    record: dict[str, Any] = {}
    if chosen.half and enough:
        fp16.halve(folder, graph=forms["fp32"], feeds=feeds)
        forms["fp16"] = folder / "fp16.onnx"
    if chosen.precision == "int8" and enough:
        place = folder / ".int8"
        place.mkdir()
        try:
            quantise(place, graph=forms["fp32"], feeds=feeds, method=chosen.methods[0], console=console)
            (place / "int8.onnx").rename(folder / "int8.onnx")
            forms["int8"] = (place / "model.onnx").rename(folder / ".model.onnx")
        except ArtefactError as error:
            record["refused"] = str(error)
        for left in place.iterdir():
            left.unlink()
        place.rmdir()
    record["forms"] = {name: {"recall": _recall(session(file), users, some)} for name, file in forms.items()}
    recalls = {name: one["recall"] for name, one in record["forms"].items()}
    served, record["why"] = choose(recalls, qdq.work_per_value(onnx.load(forms["fp32"])), chosen.budget)
    hard_link(forms[served], folder / "model.onnx")
    (folder / ".model.onnx").unlink(missing_ok=True)
    record["served"] = served
    (folder / "compression.json").write_text(json.dumps(record, indent=2) + "\n")
    told = ", ".join(f"{name} {one['recall']:.4f}" for name, one in record["forms"].items())
    console.print(
        f"  user encoder, recall@20: {told}; {served} is served: {record['why']}", highlight=False, soft_wrap=True
    )


def choose(recalls: Mapping[str, float], work: float, budget: float) -> tuple[str, str]:
    """Return the form that is served on a CPU, and why.

    Args:
        recalls: recall@20 by form.
        work: `qdq.work_per_value` of the fp32 form.
        budget: recall@20 that int8 may cost.
    """
    if "int8" not in recalls:
        return "fp32", "there is no int8 form"
    why = f"{work:.0f} multiply-adds for each value that int8 converts; it is quicker from {LEAST_WORK} on"
    if work < LEAST_WORK:
        return "fp32", why
    lost = recalls["fp32"] - recalls["int8"]
    return "int8" if lost <= budget else "fp32", f"{why}; it costs {lost:.4f} recall@20 of {budget:g} allowed"


def compress_head(folder: Path, *, lessons: Sequence[Lists]) -> None:
    """Write `model.onnx`, the same as `fp32.onnx`, and of enough lists `fp16.onnx` for engines of either precision."""
    hard_link(folder / "fp32.onnx", folder / "model.onnx")
    signals = [one.signals[row][None] for one in lessons for row in range(min(LISTS, len(one.signals)))]
    if len(signals) >= LEAST_ROWS:
        lists = (row[0, :SHELF_CANDIDATES].numpy() for row in signals)
        feeds = [{"shelf_signals": padded(row, SHELF_CANDIDATES)[None]} for row in lists]
        fp16.halve(folder, graph=folder / "fp32.onnx", feeds=feeds)


def _feed(users: Trained, history: History) -> Feed:
    items, *others = (tensor.numpy() for tensor in inputs_of([history]))
    return dict(zip(Inputs, (users.items[items], *others), strict=True))


def _recall(network: InferenceSession, users: Trained, some: Sequence[Case]) -> float:
    """Return the mean recall@20 of baskets by a form's vectors."""
    vectors = [network.run(None, _feed(users, case.history))[0][0] for case in some]
    return measure(some, list(np.stack(vectors) @ users.items.T)).mean("overall", "recall")
