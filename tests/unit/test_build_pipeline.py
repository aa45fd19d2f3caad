"""A build ends with the best release that passes: what does not is replaced, network by network, and told."""

import io
import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from rich.console import Console

from build import __main__ as program
from build import pipeline
from build.data.foreign import ForeignPairs
from build.declaration import UNNEEDED, Stage
from build.evaluation.offline import session
from build.pipeline import Plan
from build.release import decide as works
from build.release import gate
from build.settings import Compression, preset
from build.shop import Shop
from build.stages import Stages
from build.workspace import Workspace
from shelfbridge.catalogue import Catalogue
from shelfbridge.errors import ArtefactError
from shelfbridge.release import read_manifest
from tests.functional import tiny
from tests.unit.test_gate import judged, ranker

QUIET = Console(file=io.StringIO())
NETWORKS = {
    "encoder": "encoder",
    "encoder-student": "encoder",
    "ranker": "ranker",
    "ranker-fusion": "ranker",
    "reader": "cross_encoder",
    "reader-student": "cross_encoder",
}
"""Folders of trained networks, and the model of the tiny repository that each is."""


def there(folder, *, of: Path) -> None:
    """A stage whose result is in a folder already."""
    shutil.copytree(of, folder, dirs_exist_ok=True)


def weight(folder, *, value: float) -> None:
    """A cross-encoder's weight beside the ranker."""
    np.save(folder / "blend.npy", np.float32(value))


@dataclass
class Trained:
    """A shop whose networks are trained: each lies in a folder of its name."""

    shop: Shop
    root: Path
    weights: dict[str, float] = field(default_factory=dict)
    """Of the teacher and of the student beside the served ranker."""
    refused: str = ""
    """Why no int8 form can be made, if so."""

    @property
    def folder(self) -> Path:
        """Of the networks."""
        return self.root / "trained"

    def stages(self) -> dict[str, Stage]:
        """In the places of those that learn and those that compress."""
        repository, student = self.root / "repository", self.shop.settings.encoder_student.shape
        read, texts = self.shop.settings.cross_encoder_student.shape, self.shop.settings.cross_encoder_student.texts
        folders = {
            "tokenizer": repository / "preprocess/1",
            "pieces": repository / "shortlist/1",
            "store": repository / "postprocess/1",
            "index": repository / "retrieve/1",
            **dict.fromkeys(
                (
                    *("feeds", "prunable", "cross-encoder-blend", f"opinions-{texts}"),
                    *(f"encoder-pruned-{student}", f"cross-encoder-pruned-{read}"),
                ),
                self.folder / "feeds",
            ),
            "retrieve": repository / "retrieve/1",
            **dict.fromkeys(("encoder", "encoder-onnx"), self.folder / "encoder"),
            **dict.fromkeys(("cross-encoder", "cross-encoder-onnx", "cross-encoder-weighed"), self.folder / "reader"),
            **dict.fromkeys(("ranker", "ranker-fitted"), self.folder / "ranker"),
            "ranker-plain": self.folder / "ranker-fusion",
            **dict.fromkeys(
                (f"encoder-student-{student}", f"encoder-student-{student}-onnx"), self.folder / "encoder-student"
            ),
            **dict.fromkeys(
                (f"cross-encoder-student-{read}", f"cross-encoder-student-{read}-weighed"),
                self.folder / "reader-student",
            ),
        }
        made = {name: Stage(name, f"{__name__}:there", 1, parameters={"of": of}) for name, of in folders.items()}
        for name, chosen in {"cross-encoder": "reader", f"cross-encoder-student-{read}": "reader-student"}.items():
            given = {"value": self.weights.get(chosen, 1.0)}
            made[f"{name}-weight"] = Stage(f"{name}-weight", f"{__name__}:weight", 1, parameters=given)
        return made


def save(model: onnx.ModelProto, folder: Path) -> None:
    """Write a network that tells the name of its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model.doc_string = folder.name
    onnx.save(model, folder / "model.onnx")


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """The fine-tuned networks and their students are all those of the tiny repository."""
    catalogue = Catalogue(tuple(tiny.catalogue()))
    repository = tiny.write_repository(tmp_path / "repository")
    folder = tmp_path / "trained"
    for name, model in NETWORKS.items():
        save(onnx.load(repository / model / "1/model.onnx"), folder / name)
        (folder / name / "choice.json").write_text('{"name": "tiny"}')
    (folder / "feeds").mkdir()
    (folder / "feeds/lengths.json").write_text("{}")
    # One that moves no product past another: the tiny ranker's order is perfect
    small = "small = Constant <value_float = 0.001> ()\n    little = Mul (values, small)\n"
    for name in ("reader", "reader-student"):
        text = tiny.CROSS_ENCODER.replace("offset = Add (values, lifted)", f"{small}    offset = Add (little, lifted)")
        save(onnx.parser.parse_model(text), folder / name)
    settings = preset("smoke").model_copy(update={"compression": Compression(queries=100, half=False)})
    made = Trained(Shop(catalogue, judged(catalogue), ForeignPairs(), "", settings, QUIET), tmp_path)

    def compress(target, *, graph, chosen, judge, **_):
        """The int8 form is in a folder of its own if there is one, else it is the fp32 one."""
        source = graph / "model.onnx"
        assert 0 <= judge(session(source)) <= 1
        shutil.copy(source, target / "fp32.onnx")
        coarse = folder / f"{told(source)}-int8" / "model.onnx"
        shutil.copy(coarse if chosen.precision == "int8" and coarse.exists() else source, target / "model.onnx")
        (target / "compression.json").write_text(json.dumps({"refused": made.refused} if made.refused else {}))

    monkeypatch.setattr("build.compression.forms.compress", compress)
    monkeypatch.setattr(pipeline, "Stages", lambda shop: Stages(shop, made.stages()))
    return made


def told(graph: Path) -> str:
    """Name of the folder that a network was trained in."""
    return onnx.load(graph).doc_string


@dataclass(frozen=True)
class Found:
    """What is served, and what was decided."""

    parts: dict[str, Path]
    decisions: dict[str, dict]

    @property
    def names(self) -> dict[str, str]:
        """Of the networks."""
        return {network: told(self.parts[network] / "model.onnx") for network in ("encoder", "ranker", "cross_encoder")}


def decide(trained: Trained) -> Found:
    """Run the stages of a build that decide what is served, and those before them."""
    plan, space = Plan.of(trained.shop), Workspace(trained.root / "stages", QUIET)
    space.run(plan.named("gate"))
    folders = {stage.name: state.folder for stage, state in space.states(plan.all).items() if state.folder is not None}
    decisions = {name: one for folder in folders.values() for name, one in gate.read(folder).items()}
    return Found(
        {model: folders[stage.name] for model, stage in plan.parts.items() if stage.name in folders}, decisions
    )


def lose(trained: Trained, name: str) -> None:
    """Let a network be in the folder of that name that loses nearly everything."""
    folder, broken = trained.folder / name, name.split("-", maxsplit=1)[0]
    if broken == "encoder":  # what each word means is what its neighbour means
        model = onnx.load(trained.folder / "encoder/model.onnx")
        for table in model.graph.initializer:
            table.CopyFrom(onnx.numpy_helper.from_array(np.roll(onnx.numpy_helper.to_array(table), 9, 0), table.name))
    elif broken == "ranker":
        model = onnx.load(ranker(trained.root, "scores = Neg (right)"))
    else:
        text = tiny.CROSS_ENCODER.replace("top = Add (first, offset)", "top = Sub (offset, first)")
        text = text.replace("offset = Add (values, lifted)", "less = Neg (values)\n    offset = Add (less, lifted)")
        model = onnx.parser.parse_model(text)
    save(model, folder)


def settle(trained: Trained, **compression) -> None:
    """Change the settings of the compression."""
    chosen = replace(trained.shop.settings.compression, **compression)
    settings = trained.shop.settings.model_copy(update={"compression": chosen})
    trained.shop = replace(trained.shop, settings=settings)


STUDENTS = {"encoder": "encoder-student", "ranker": "ranker", "cross_encoder": "reader-student"}


def test_students_that_pass_are_served(trained):
    found = decide(trained)
    assert found.names == STUDENTS
    assert all(decision["passed"] for decision in found.decisions.values())
    assert {"fused", "ranked", "deep"} <= found.decisions["all stages"].keys()


def test_without_students_nothing_is_decided_about_them(trained):
    before = trained.stages()
    trained.stages = lambda: before
    none = {"encoder_student": None, "cross_encoder_student": None}
    trained.shop = replace(trained.shop, settings=trained.shop.settings.model_copy(update=none))
    found = decide(trained)
    assert found.names == {"encoder": "encoder", "ranker": "ranker", "cross_encoder": "reader"}
    assert not [name for name in found.decisions if "student" in name]


@pytest.mark.parametrize(
    ("student", "network", "name"),
    [
        ("encoder-student", "encoder", "the encoder's student"),
        ("reader-student", "cross_encoder", "the cross-encoder's student"),
    ],
)
def test_a_students_teacher_takes_its_place_where_it_does_not_pass(trained, student, network, name):
    lose(trained, student)
    found = decide(trained)
    assert found.names == {**STUDENTS, network: student.removesuffix("-student")}
    assert not found.decisions[name]["passed"]
    assert "inferior" in found.decisions[name]["reason"]


def test_a_student_of_no_weight_is_replaced_by_its_teacher(trained):
    trained.weights = {"reader-student": 0.0}
    found = decide(trained)
    assert found.names == {**STUDENTS, "cross_encoder": "reader"}
    assert "cannot tell that it helps" in found.decisions["the cross-encoder's student"]["reason"]


def test_fp32_takes_the_place_of_an_int8_form_that_does_not_pass(trained):
    lose(trained, "encoder-student-int8")
    lose(trained, "reader-student-int8")
    found = decide(trained)
    assert found.names == STUDENTS
    for name, network in (("the encoder in int8", "encoder"), ("the cross-encoder in int8", "cross_encoder")):
        assert not found.decisions[name]["passed"]
        assert not (found.parts[network] / "int8.onnx").exists()


def test_fp32_takes_the_place_of_an_int8_form_that_cannot_be_made(trained):
    trained.refused = "max: too far"
    found = decide(trained)
    assert found.names == STUDENTS
    assert found.decisions["the encoder in int8"]["reason"] == "max: too far"


def test_in_fp32_nothing_is_decided_about_int8(trained):
    lose(trained, "encoder-student-int8")
    settle(trained, precision="fp32", insisted=True)
    found = decide(trained)
    assert found.names == STUDENTS
    assert not [name for name in found.decisions if "int8" in name]


@pytest.mark.parametrize("name", ["encoder-student-int8", "reader-student-int8"])
def test_what_the_caller_asked_for_by_name_is_refused_and_not_replaced(trained, name):
    lose(trained, name)
    settle(trained, insisted=True)
    network = "encoder" if name.startswith("encoder") else "cross-encoder"
    with pytest.raises(ArtefactError, match=rf"^the {network} in int8 does not pass: .*--precision int8"):
        decide(trained)


def test_a_release_is_published_with_what_was_decided_and_stays_where_the_next_is_refused(trained):
    lose(trained, "encoder-student-int8")
    made, figures = pipeline.build(trained.root, trained.shop)
    assert told(made / "encoder/1/model.onnx") == "encoder-student"
    record = read_manifest(made)
    assert (record["shop"]["products"], record["figures"]["queries"]) == (len(trained.shop.catalogue.products), 1)
    assert record["settings"]["encoder"]["training"]["seed"] == 7
    decisions = record["decisions"]
    assert not decisions["the encoder in int8"]["passed"]
    assert decisions["all stages"]["passed"]
    assert "| deep |" in figures
    card = (made / "model_card.md").read_text()
    assert figures.strip() in card
    assert "| the encoder in int8 | no | inferior" in card
    settle(trained, insisted=True)
    with pytest.raises(ArtefactError, match="--precision int8"):
        pipeline.build(trained.root, trained.shop)
    assert [path.name for path in (trained.root / "releases").iterdir() if path.name.isdigit()] == ["1"]
    assert (trained.root / "releases/current").resolve() == made


def test_two_releases_are_compared(trained, monkeypatch, capsys):
    first, _ = pipeline.build(trained.root, trained.shop)
    settle(trained, precision="fp32")
    second, _ = pipeline.build(trained.root, trained.shop)
    monkeypatch.setattr("sys.argv", ["build", "diff", str(first), str(second)])
    program.main()
    told = capsys.readouterr().out
    assert "| nDCG@10 | release 1 | release 2 |" in told
    assert "settings.compression.precision: int8 -> fp32" in told
    assert "decisions.the encoder in int8.passed: True -> nothing" in told
    assert "encoder.training.seed" not in told


def test_a_greater_budget_lets_it_through(trained):
    lose(trained, "encoder-student-int8")
    settle(trained, insisted=True, budget=1.0)
    found = decide(trained)
    assert found.names["encoder"] == "encoder-student-int8"
    assert found.decisions["the encoder in int8"]["difference"] < -0.2


def test_a_learned_order_that_is_worse_than_the_fusion_is_replaced(trained):
    lose(trained, "ranker")
    found = decide(trained)
    assert found.names["ranker"] == "ranker-fusion"
    assert found.decisions["all stages"]["passed"]
    assert "worse" in found.decisions["the learned ranker"]["reason"]


def left_out(found: Found) -> bool:
    """Whether the graph in the cross-encoder's place is the ranker's order."""
    graph = onnx.load(found.parts["cross_encoder"] / "model.onnx").graph
    return "MatMul" not in {node.op_type for node in graph.node}


def test_a_cross_encoder_that_does_not_help_is_left_out(trained):
    trained.weights = {"reader": 0.0}
    found = decide(trained)
    assert left_out(found)
    assert {"model.onnx", "fp32.onnx", "int8.onnx"} <= {one.name for one in found.parts["cross_encoder"].iterdir()}
    assert found.decisions["all stages"]["deep"]["over ranked"]["value"] == 0
    assert not found.decisions["the cross-encoder"]["passed"]


def test_a_cross_encoder_that_makes_the_order_worse_is_left_out(trained):
    lose(trained, "reader")
    lose(trained, "reader-student")
    found = decide(trained)
    assert left_out(found)
    assert found.decisions["all stages"]["passed"]


class TestFitting:
    """The head and the weight are fitted to what is served, or passed on where that is the original."""

    def folders(self, root: Path, **models: bytes) -> dict[str, Path]:
        for name, contents in models.items():
            (root / name).mkdir()
            (root / name / "model.onnx").write_bytes(contents)
        return {name: root / name for name in models}

    def test_of_the_original_encoder_the_head_is_passed_on(self, tmp_path, monkeypatch):
        monkeypatch.setattr("build.training.ranker.train", None)
        known = self.folders(tmp_path, graph=b"int8", chosen=b"e", encoder_graph=b"e", ranker=b"r")
        works.fit_ranker(tmp_path / "made", **known)
        assert (tmp_path / "made/model.onnx").read_bytes() == b"r"

    def test_to_another_encoder_it_is_fitted(self, tmp_path, monkeypatch):
        asked = []
        monkeypatch.setattr("build.training.ranker.train", lambda folder, *, graph, **_: asked.append(graph))
        monkeypatch.setattr("build.compression.export.export_ranker", lambda folder, *, trained: asked.append(trained))
        known = self.folders(tmp_path, graph=b"int8", chosen=b"s", encoder_graph=b"e", ranker=b"r")
        works.fit_ranker(tmp_path / "made", **known)
        assert asked == [tmp_path / "graph", tmp_path / "made"]

    @pytest.mark.parametrize(("chosen", "ranker"), [(b"e", b"r"), (b"s", b"r"), (b"e", b"s")])
    def test_the_weight_is_passed_on_where_both_are_the_originals(self, tmp_path, monkeypatch, chosen, ranker):
        asked = []

        def write_blend(folder, **known):
            asked.append(known)
            folder.mkdir()
            weight(folder, value=0.8)

        monkeypatch.setattr("build.training.ranker.write_blend", write_blend)
        known = self.folders(
            tmp_path, graph=b"int8", chosen=chosen, ranker=ranker, encoder_graph=b"e", ranker_graph=b"r"
        )
        (tmp_path / "before").mkdir()
        weight(tmp_path / "before", value=0.4)
        works.weigh(tmp_path / "made", before=tmp_path / "before", **known)
        originals = (chosen, ranker) == (b"e", b"r")
        assert np.load(tmp_path / "made/blend.npy") == np.float32(0.4 if originals else 0.8)
        assert len(asked) == (not originals)

    @pytest.mark.parametrize("value", [0.0, 0.1])
    def test_of_weight_0_no_student_is_needed(self, tmp_path, value):
        known = self.folders(tmp_path, graph=b"e", chosen=b"e", ranker=b"r", encoder_graph=b"e", ranker_graph=b"r")
        (tmp_path / "before").mkdir()
        weight(tmp_path / "before", value=value)
        works.weigh(tmp_path / "made", before=tmp_path / "before", **known)
        assert (tmp_path / "made" / UNNEEDED).exists() == (value == 0)
