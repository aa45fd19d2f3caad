"""What stages do that decide what is served: each holds its candidates against the originals and keeps one of them.

The folder of such a stage holds what was kept, as links, and `decision.json`. The best candidate that passes is kept: a
student or else its teacher, int8 or else fp32, the learned order or else a plain one, a cross-encoder or none at all.
What a function takes as `known` are the arguments of `Gate.of`.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from build.compression import export
from build.declaration import say_unneeded
from build.release import gate
from build.release.gate import Decision, Gate, Served
from build.release.publish import hard_link
from build.training import ranker as ranking
from build.works import link, same

NO_HELP = "dev cannot tell that it helps; search_deep serves the ranker's order"


def choose_encoder(folder: Path, *, student: Path, **known: Any) -> None:
    """Keep the graph of an encoder's student, or else that of its teacher."""
    decision = Gate.of(**known).decide("the encoder's student", "encoder", student)
    link(student if decision.passed else known["graph"], folder)
    gate.write(folder, {"the encoder's student": decision})


def serve_encoder(folder: Path, *, compressed: Path, **known: Any) -> None:
    """Keep an encoder in the precision of the settings, or else in fp32.

    Raises:
        ArtefactError: the caller asked for int8 by name, and it does not pass.
    """
    found = Gate.of(**known).quantised("encoder", compressed)
    keep_precision(folder, compressed, found)
    gate.write(folder, found)


def train_ranker(folder: Path, **known: Any) -> None:
    """Fit the ranker's head; write it and its graph."""
    ranking.train(folder, **known)
    export.export_ranker(folder, trained=folder)


def fit_ranker(folder: Path, *, chosen: Path, encoder_graph: Path, ranker: Path, **known: Any) -> None:
    """As `train_ranker`, to the served encoder; where the original one was chosen, its head is passed on."""
    if same(chosen, encoder_graph):
        link(ranker, folder)
    else:
        train_ranker(folder, **known)


def plain_ranker(folder: Path, **known: Any) -> None:
    """Write the head of an order that needs no judgments, and its graph."""
    ranking.plain(folder, **known)
    export.export_ranker(folder, trained=folder)


def choose_ranker(folder: Path, *, fitted: Path, plain: Path, served_encoder: Path, **known: Any) -> None:
    """Keep the learned head with its graph, or a plain one where its order is worse than what it came from."""
    decision = Gate.of(**known).stages({"encoder": served_encoder, "ranker": fitted}, deep=False)
    kept = fitted if decision.passed else plain
    link(kept, folder)
    figures = {**decision.figures, "head": json.loads((kept / ranking.CHOICE).read_text())}
    gate.write(folder, {"the learned ranker": replace(decision, figures=figures)})


def weigh(
    folder: Path,
    *,
    ranker: Path,
    chosen: Path,
    encoder_graph: Path,
    ranker_graph: Path,
    before: Path | None = None,
    **known: Any,
) -> None:
    """Choose the weight of a cross-encoder behind the served encoder and ranker; of weight 0 no student is needed.

    Where these are the originals, the encoder perhaps in int8, the choice made `before` with those is passed on, if
    there is one.
    """
    if before is not None and same(chosen, encoder_graph) and same(ranker, ranker_graph):
        link(before, folder)
    else:
        ranking.write_blend(folder, ranker=ranker, **known)
    if not ranking.weight_of(folder):
        say_unneeded(folder)


def choose_cross_encoder(
    folder: Path,
    *,
    teacher: Path,
    weight: Path,
    left_out: Path,
    served_encoder: Path,
    served_ranker: Path,
    student: Path | None = None,
    student_weight: Path | None = None,
    **known: Any,
) -> None:
    """Keep the graph of a cross-encoder's student, or else its teacher's; the ranker alone where that has no weight."""
    decisions, kept = {}, teacher
    if not ranking.weight_of(weight):
        decisions["the cross-encoder"], kept = Decision(False, NO_HELP, {}), left_out
    elif student is not None and student_weight is not None:
        decision = Decision(False, NO_HELP, {})
        if ranking.weight_of(student_weight):
            served: Served = {"encoder": served_encoder, "ranker": served_ranker}
            decision = Gate.of(**known).decide("the cross-encoder's student", "cross_encoder", student, served)
        decisions["the cross-encoder's student"] = decision
        kept = student if decision.passed else teacher
    hard_link(kept / "model.onnx", folder / "model.onnx")
    gate.write(folder, decisions)


def serve_cross_encoder(
    folder: Path, *, compressed: Path, left_out: Path, served_encoder: Path, served_ranker: Path, **known: Any
) -> None:
    """Keep a cross-encoder in the precision of the settings, or else in fp32; none where that makes the order worse.

    Raises:
        ArtefactError: the caller asked for int8 by name, and it does not pass.
    """
    served: Served = {"encoder": served_encoder, "ranker": served_ranker}
    found: dict[str, Decision] = {}
    if same(compressed, left_out):
        link(compressed, folder)
    else:
        held = Gate.of(**known)
        found = held.quantised("cross_encoder", compressed, served)
        keep_precision(folder, compressed, found)
        last = held.stages({**served, "cross_encoder": folder})
        if "deep" in last.figures["worse"]:
            found["the cross-encoder"] = last
            for file in folder.iterdir():
                file.unlink()
            link(left_out, folder)
    gate.write(folder, found)


def hold_all(
    folder: Path, *, served_encoder: Path, served_ranker: Path, served_cross_encoder: Path, **known: Any
) -> None:
    """Hold each stage against the one before it, all as they will be served."""
    held = Gate.of(**known)
    served: Served = {
        "encoder": served_encoder,
        "ranker": served_ranker,
        "cross_encoder": served_cross_encoder,
    }
    gate.write(folder, {"all stages": held.stages(served)})


def keep_precision(folder: Path, compressed: Path, decisions: Mapping[str, Decision]) -> None:
    """Keep all forms of a network; those but int8, with fp32 for the CPU, where a decision does not let that pass."""
    if all(one.passed for one in decisions.values()):
        link(compressed, folder)
    else:
        link(compressed, folder, "int8.onnx", "model.onnx")
        hard_link(compressed / "fp32.onnx", folder / "model.onnx")
