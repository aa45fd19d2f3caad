"""A build ends with the best release that passes: what does not is replaced, network by network, and told."""

import io
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from rich.console import Console

from build import export
from build.foreign import ForeignPairs
from build.pipeline import decided
from build.settings import SMOKE, Compression
from build.stages import Originals, Shop
from build.workspace import Workspace
from shelfbridge.catalogue import Catalogue
from shelfbridge.errors import ArtefactError
from tests.functional import tiny
from tests.unit.test_gate import judged, ranker

QUIET = Console(file=io.StringIO())


@dataclass
class Training:
    """In place of `Stages`: what training would leave is there already, in the folder of that name."""

    space: Workspace
    shop: Shop
    folder: Path
    weights: dict[str, float] = field(default_factory=dict)
    heads: list[bool] = field(default_factory=list)

    def encoder_student(self, made, student):
        return self.folder / "encoder-student"

    def cross_encoder_student(self, made, student):
        return self.folder / "reader-student"

    def encoder_graph(self, trained):
        return trained

    def head(self, *, learn, name, **_):
        self.heads.append(learn)
        return self.folder / ("ranker" if learn else "ranker-fusion")

    def head_graph(self, head):
        return head

    def blend(self, made, reader, encoder, head):
        return self.weights.get(reader.name, 1.0)

    def blended(self, made, reader):
        return reader

    def reader_graph(self, reader, weight):
        return reader

    def ranker_alone(self):
        return self.space.stage("left-out", lambda folder: export.export_ranker_alone(folder, forms=["fp32.onnx"]))

    def compressed(self, made, network, graph, *, beside, precision="int8", context=None):
        """The int8 form is in a folder of its own if there is one, else it is the fp32 one."""
        coarse = graph.with_name(f"{graph.name}-int8")
        return coarse if precision == "int8" and coarse.is_dir() else graph


NETWORKS = {
    "encoder": "encoder",
    "encoder-student": "encoder",
    "ranker": "ranker",
    "ranker-fusion": "ranker",
    "reader": "cross_encoder",
    "reader-student": "cross_encoder",
}


@pytest.fixture
def training(tmp_path):
    """A shop whose fine-tuned networks and their students are all those of the tiny repository."""
    catalogue = Catalogue(tuple(tiny.catalogue()))
    repository = tiny.write_repository(tmp_path / "repository")
    folder = tmp_path / "stages" / "trained"
    for name, model in NETWORKS.items():
        (folder / name).mkdir(parents=True)
        shutil.copy(repository / model / "1/model.onnx", folder / name)
    # One that moves no product past another: the tiny ranker's order is perfect
    small = "small = Constant <value_float = 0.001> ()\n    little = Mul (values, small)\n"
    for name in ("reader", "reader-student"):
        text = tiny.CROSS_ENCODER.replace("offset = Add (values, lifted)", f"{small}    offset = Add (little, lifted)")
        onnx.save(onnx.parser.parse_model(text), folder / name / "model.onnx")
    settings = replace(SMOKE, compression=Compression(queries=100))
    shop = Shop(catalogue, judged(catalogue), ForeignPairs(), "", settings, QUIET)
    return Training(Workspace(tmp_path / "stages", QUIET), shop, folder)


def decide(training):
    """What is decided, with the folders of the tiny repository for all that is computed per product."""
    repository, folder = training.space.root.parent / "repository", training.folder
    made = Originals(
        tokenizer=repository / "preprocess/1",
        pieces=repository / "shortlist/1",
        store=repository / "postprocess/1",
        encoder=folder / "encoder",
        encoder_graph=folder / "encoder",
        index=repository / "retrieve/1",
        cross_encoder=folder / "reader",
        ranker=folder / "ranker",
        ranker_graph=folder / "ranker",
        feeds=folder,
    )
    return decided(training, made)


def lose(training, name: str) -> None:
    """Let a network be in the folder of that name that loses nearly everything."""
    folder, broken = training.folder / name, name.split("-", maxsplit=1)[0]
    folder.mkdir(exist_ok=True)
    if broken == "encoder":  # what each word means is what its neighbour means
        model = onnx.load(training.folder / "encoder/model.onnx")
        for table in model.graph.initializer:
            table.CopyFrom(onnx.numpy_helper.from_array(np.roll(onnx.numpy_helper.to_array(table), 9, 0), table.name))
        onnx.save(model, folder / "model.onnx")
    elif broken == "ranker":
        ranker(folder, "scores = Neg (right)").rename(folder / "model.onnx")
    else:
        text = tiny.CROSS_ENCODER.replace("top = Add (first, offset)", "top = Sub (offset, first)")
        text = text.replace("offset = Add (values, lifted)", "less = Neg (values)\n    offset = Add (less, lifted)")
        onnx.save(onnx.parser.parse_model(text), folder / "model.onnx")


def names(found) -> dict[str, str]:
    return {network: folder.name for network, folder in found.parts.items()}


def test_students_that_pass_are_served(training):
    found = decide(training)
    assert names(found) == {"encoder": "encoder-student", "ranker": "ranker", "cross_encoder": "reader-student"}
    assert all(decision["passed"] for decision in found.decisions.values())
    assert {"fused", "ranked", "deep"} <= found.decisions["all stages"].keys()


@pytest.mark.parametrize(
    ("student", "network", "name"),
    [
        ("encoder-student", "encoder", "the encoder's student"),
        ("reader-student", "cross_encoder", "the cross-encoder's student"),
    ],
)
def test_a_students_teacher_takes_its_place_where_it_does_not_pass(training, student, network, name):
    lose(training, student)
    found = decide(training)
    others = {"encoder": "encoder-student", "ranker": "ranker", "cross_encoder": "reader-student"}
    assert names(found) == {**others, network: student.removesuffix("-student")}
    assert not found.decisions[name]["passed"]
    assert "inferior" in found.decisions[name]["reason"]


def test_fp32_takes_the_place_of_an_int8_form_that_does_not_pass(training):
    lose(training, "encoder-student-int8")
    found = decide(training)
    assert names(found)["encoder"] == "encoder-student"
    assert not found.decisions["the encoder in int8"]["passed"]


def test_what_the_caller_asked_for_by_name_is_refused_and_not_replaced(training):
    lose(training, "encoder-student-int8")
    insisted = replace(training.shop.settings.compression, insisted=True)
    training.shop = replace(training.shop, settings=replace(training.shop.settings, compression=insisted))
    with pytest.raises(ArtefactError, match=r"^the encoder in int8 does not pass: .*--precision int8"):
        decide(training)


def test_a_learned_order_that_is_worse_than_the_fusion_is_replaced(training):
    lose(training, "ranker")
    shutil.copy(training.space.root.parent / "repository/ranker/1/model.onnx", training.folder / "ranker-fusion")
    found = decide(training)
    assert training.heads == [True, False]
    assert names(found)["ranker"] == "ranker-fusion"
    assert found.decisions["all stages"]["passed"]
    assert "worse" in found.decisions["the learned ranker"]["reason"]


def test_a_cross_encoder_that_does_not_help_is_left_out(training):
    training.weights = {"reader": 0.0}
    found = decide(training)
    graph = found.parts["cross_encoder"] / "model.onnx"
    assert "MatMul" not in {node.op_type for node in onnx.load(graph).graph.node}
    assert found.decisions["all stages"]["deep"]["over ranked"]["value"] == 0
    assert not found.decisions["the cross-encoder"]["passed"]


def test_a_cross_encoder_that_makes_the_order_worse_is_left_out(training):
    lose(training, "reader")
    lose(training, "reader-student")
    found = decide(training)
    assert found.parts["cross_encoder"].parent.name == "left-out"
    assert found.decisions["all stages"]["passed"]
