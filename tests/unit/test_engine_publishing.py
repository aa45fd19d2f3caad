"""A release with engines is a new one beside the old, published when all is proved, with configs that match."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from rich.console import Console
from tritonclient.grpc import model_config_pb2

from build.engines import __main__ as program
from build.engines import quality
from build.engines.buckets import profiles, usual_lengths
from build.engines.builder import Options
from build.engines.configs import CONTEXT_MEMORY, GRAPH_CHANCE, GRAPHS, adapt, max_batch
from build.engines.quality import Judged, judge
from build.engines.report import Report
from build.engines.runtime import EngineSession
from build.engines.stage import Bench
from build.release import SOURCES, publish, read_manifest, verify, write_manifest
from deploy.containers import serve
from shelfbridge.catalogue import Catalogue, Judgment, Judgments
from shelfbridge.contract import MODELS
from shelfbridge.engine import read_record
from shelfbridge.errors import ArtefactError, DataError
from tests.functional import tiny
from tests.unit.tensorrt_double import CpuDevice, TensorRTDouble
from tests.unit.test_engines import RANKER, STEP

QUIET = Console(file=io.StringIO())
LENGTHS = {"query": {5: 30, 8: 50}, "product": {20: 60, 33: 40}, "pair": {12: 40, 16: 60}}
NETWORKS = ("encoder", "ranker", "cross_encoder")
PLAIN = Options()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An `out` folder with release 1 in it, its masters beside its graphs; not to be changed."""
    folder = tmp_path_factory.mktemp("engines")
    tiny.write_repository(folder / "tiny")
    parts = {}
    for model in (folder / "tiny").iterdir():
        (model / "1/model.py").unlink(missing_ok=True)
        if any((model / "1").iterdir()):
            parts[model.name] = model / "1"
    tiny.write_model(parts["ranker"] / "model.onnx", RANKER, step=STEP)
    for name in NETWORKS:
        for master in ("int8.onnx", "fp16.onnx"):
            shutil.copy(parts[name] / "model.onnx", parts[name] / master)
    (folder / "lengths.json").write_text(json.dumps(LENGTHS))
    publish(
        folder / "out/releases", parts=parts, about={"base": "tiny"}, extra={"lengths.json": folder / "lengths.json"}
    )
    return folder / "out"


@pytest.fixture
def out(built, tmp_path, monkeypatch):
    """A copy of it, and batches small enough for a test."""
    shutil.copytree(built, tmp_path / "out", symlinks=True)
    monkeypatch.setattr(program.configs, "max_batch", lambda config: 2)
    return tmp_path / "out"


@pytest.fixture
def trt():
    return TensorRTDouble()


def judged() -> Judged:
    products = tiny.catalogue()
    rows = [
        Judgment(query_id=color, query=f"{color} camping tent", product_id=p.product_id, label="E", split="dev")
        for color in ("red", "blue")
        for p in products
        if p.title.startswith(f"{color} camping tent")
    ]
    return Judged(Catalogue(tuple(products)), Judgments(tuple(rows)), "dev")


def run(out: Path, trt: TensorRTDouble, *, judge_by: Judged | None = None, options: Options = PLAIN) -> Path:
    bench = Bench(trt, CpuDevice(), out / "engines", 2, QUIET)
    return program.run(
        out / "releases/current",
        bench,
        Report(out / "report", bench),
        precision="int8",
        options=options,
        judged=judge_by,
        budget=0.005,
    )


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(releases: Path) -> set[str]:
    return {path.name for path in releases.iterdir()} - {".lock"}


@pytest.fixture(scope="module")
def published(built, tmp_path_factory):
    """An `out` folder with release 2, made of 1 by the program; not to be changed."""
    out = tmp_path_factory.mktemp("published") / "out"
    shutil.copytree(built, out, symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program.configs, "max_batch", lambda config: 2)
        run(out, TensorRTDouble())
    return out


class TestPublishing:
    @pytest.fixture
    def made(self, published):
        return published / "releases/2"

    def test_makes_the_next_release_current_and_leaves_the_old_as_it_was(self, built, published):
        assert names(published / "releases") == {"1", "2", "current"}
        assert (published / "releases/current").readlink() == Path("2")
        assert content(published / "releases/1") == content(built / "releases/1")
        verify(published / "releases/2")

    def test_every_model_is_in_the_new_version_folder(self, made):
        assert {path.name for path in made.glob("*/*") if path.is_dir()} == {"2", "configs"}
        for name in NETWORKS:
            here = {path.name for path in (made / name / "2").iterdir()}
            assert here == {
                *("model.onnx", "int8.onnx", "fp16.onnx", "model.plan"),
                *("engine.json", "engine_layers.json", "engine_checks.json"),
            }

    def test_unchanged_files_take_no_more_room(self, published, made):
        for name in ("retrieve/{}/tokens.npy", "encoder/{}/int8.onnx", "preprocess/{}/model.py"):
            assert (made / name.format(2)).samefile(published / "releases/1" / name.format(1))

    def test_the_manifest_tells_of_the_engines_and_keeps_the_rest(self, published, made):
        before, now = read_manifest(published / "releases/1"), read_manifest(made)
        assert now["release"] == 2
        assert now["engines"] == {
            "precision": "int8",
            "tensorrt": "10.15.1.29",
            "gpu": CpuDevice.name,
            "of_release": 1,
        }
        assert (now["base"], now["made_from"]) == (before["base"], before["made_from"])
        assert {"ranker/2/model.plan", "ranker/2/engine.json", "lengths.json"} <= set(now["files"])

    def test_the_container_would_serve_it(self, made, monkeypatch):
        monkeypatch.setattr(serve, "tensorrt_version", lambda: "10.15.1")
        monkeypatch.setattr(serve, "compute_capabilities", lambda: {CpuDevice.name: "9.0"})
        assert serve.prepare(made, None, [])[0] == "tritonserver"

    def test_the_report_tells_what_was_built_and_seen(self, published):
        record = json.loads((published / "report/engine_report.json").read_text())
        assert (record["release"], record["refused"], record["quality"]) == (2, None, None)
        assert record["tools"]["tensorrt"] == "10.15.1.29"
        assert set(record["engines"]) == set(NETWORKS)
        assert all(engine["checks"] and engine["plan_mb"] >= 0 for engine in record["engines"].values())
        text = (published / "report/engine_report.md").read_text()
        assert "Published as release 2." in text
        assert "no judgments were given" in text
        assert text.count("| ranker | int8 |") == len(record["engines"]["ranker"]["checks"])

    def test_the_build_takes_it_for_the_release_that_it_was_made_of(self, out, trt, built):
        made = run(out, trt)
        parts = {
            path.name: path / "1"
            for path in (built.parent / "tiny").iterdir()
            if (path / "1").is_dir() and any((path / "1").iterdir())
        }
        assert publish(out / "releases", parts=parts, about={}) == made

    def test_engines_are_built_once_and_anew_for_another_option(self, out, trt):
        first = run(out, trt)
        steps = len(trt.named("step"))
        second = run(out, trt)
        assert len(trt.named("step")) == steps
        assert (second / "ranker/3/model.plan").samefile(first / "ranker/2/model.plan")
        third = run(out, trt, options=Options(version_compatible=True))
        assert len(trt.named("step")) == 2 * steps
        assert read_record(third / "encoder/4/engine.json").version_compatible
        assert not read_record(first / "encoder/2/engine.json").version_compatible
        for made in (first, second, third):
            verify(made)


class TestRefusing:
    @pytest.fixture(autouse=True)
    def _all_as_it_was(self, out):
        before = content(out / "releases")
        yield
        assert content(out / "releases") == before
        assert names(out / "releases") == {"1", "current"}
        assert (out / "releases/current").readlink() == Path("1")

    def test_a_failed_build_leaves_all_as_it_was(self, out, trt):
        trt.build_error = "no implementation"
        with pytest.raises(ArtefactError, match="no implementation"):
            run(out, trt)
        assert "Refused: TensorRT builds no engine" in (out / "report/engine_report.md").read_text()

    def test_an_interrupted_build_leaves_all_as_it_was_and_goes_on_later(self, out, trt, monkeypatch):
        def stop() -> None:
            if len(trt.named("step")) > 8:
                raise KeyboardInterrupt

        trt.during_build = stop
        with pytest.raises(KeyboardInterrupt):
            run(out, trt)
        (kept,) = [path for path in (out / "stages/engine-encoder").iterdir() if path.name != ".lock"]
        assert (kept / "model.plan").is_file()
        assert [path.name for path in (out / "stages/engine-ranker").iterdir()] == [".lock"]

    def test_engines_that_answer_otherwise_are_not_published(self, out, trt):
        trt.outputs_times = 1.2
        with pytest.raises(ArtefactError, match=r"encoder, profile 0, min .* differs from its master"):
            run(out, trt)

    def test_a_failure_at_the_last_step_leaves_all_as_it_was(self, out, trt, monkeypatch):
        def fails(*_: object) -> None:
            raise ArtefactError("a config cannot be written")

        monkeypatch.setattr("build.engines.publishing.configs.adapt", fails)
        with pytest.raises(ArtefactError, match="cannot be written"):
            run(out, trt)

    def test_a_loss_in_ndcg_is_refused_by_the_model_that_lost_it(self, out, trt, monkeypatch):
        class Reversed:
            def run(self, outputs, inputs):
                return [-array for array in reference.run(outputs, inputs)]

        reference = quality.master_session(out / "releases/1/ranker/1/int8.onnx")
        opened = EngineSession

        def open_engine(folder, **where):
            return Reversed() if folder.parent.name == "engine-ranker" else opened(folder, **where)

        monkeypatch.setattr(program, "EngineSession", open_engine)
        with pytest.raises(ArtefactError, match=r"lose 0\.\d+ nDCG@10 at stage .*\(budget 0\.005\), most of it ranker"):
            run(out, trt, judge_by=judged())
        text = (out / "report/engine_report.md").read_text()
        assert "Refused: the engines lose" in text
        assert "| ranked |" in text

    def test_a_release_that_is_not_current_is_refused(self, out, trt):
        shutil.copytree(out / "releases/1", out / "other/1")
        bench = Bench(trt, CpuDevice(), out / "engines", 2, QUIET)
        with pytest.raises(ArtefactError, match="is not the current release"):
            program.run(
                out / "other/1",
                bench,
                Report(out / "report", bench),
                precision="int8",
                options=PLAIN,
                judged=None,
                budget=0,
            )


def test_a_release_published_meanwhile_is_not_replaced(out, trt):
    def publish_another() -> None:
        if (out / "releases/current").readlink() == Path("1"):
            shutil.copytree(out / "releases/1", out / "releases/2")
            (out / "releases/.next").symlink_to("2")
            (out / "releases/.next").replace(out / "releases/current")

    trt.during_build = publish_another
    with pytest.raises(ArtefactError, match="is another release than 1, which the engines were built for"):
        run(out, trt)
    assert (out / "releases/current").readlink() == Path("2")
    assert names(out / "releases") == {"1", "2", "current"}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_release_without_masters_is_refused_by_name(out, trt, name):
    release = out / "releases/1"
    (release / name / "1/int8.onnx").unlink()
    (release / "manifest.json").unlink()
    write_manifest(release, number=1, about={})
    with pytest.raises(ArtefactError, match=rf"{name}/1/int8\.onnx is missing: this release has no int8 masters"):
        run(out, trt)
    assert trt.calls == []


def test_a_changed_release_is_refused_before_the_long_work(out, trt):
    (out / "releases/1/search/config.pbtxt").write_text("changed")
    with pytest.raises(ArtefactError, match="was changed since the release was made"):
        run(out, trt)
    assert trt.calls == []


class TestQuality:
    def test_equal_engines_lose_nothing(self, out, trt):
        made = run(out, trt, judge_by=judged())
        record = json.loads((out / "report/engine_report.json").read_text())
        assert made.name == "2"
        assert (record["split"], record["queries"]) == ("dev", 2)
        assert list(record["quality"]) == ["lexical", "dense", "fused", "ranked", "deep"]
        for row in record["quality"].values():
            assert row["engine"]["over_lexical"] == 0
            assert row["engine"]["mean"] == row["master"]["mean"]
        assert "| ranked | " in (out / "report/engine_report.md").read_text()

    def test_a_loss_within_the_budget_is_permitted(self, out):
        masters = {name: out / f"releases/1/{name}/1/int8.onnx" for name in NETWORKS}

        class Reversed:
            def run(self, outputs, inputs):
                return [-array for array in quality.master_session(masters["ranker"]).run(outputs, inputs)]

        def lost(budget: float) -> str | None:
            return judge(
                out / "releases/1", masters, {"ranker": Reversed()}, judged=judged(), budget=budget, console=QUIET
            )[1]

        assert lost(1.0) is None
        assert "most of it ranker" in str(lost(0.005))


class TestConfigs:
    @pytest.fixture(params=NETWORKS)
    def adapted(self, request, tmp_path):
        config = tmp_path / "config.pbtxt"
        shutil.copy(SOURCES / request.param / "config.pbtxt", config)
        made = profiles(MODELS[request.param], LENGTHS, max_batch(config))
        adapt(config, made, LENGTHS)
        return MODELS[request.param], made, text_format.Parse(config.read_text(), model_config_pb2.ModelConfig())

    def test_every_profile_is_named(self, adapted):
        _, made, config = adapted
        assert config.instance_group
        for group in config.instance_group:
            assert list(group.profile) == [str(number) for number in range(len(made))]

    def test_every_profile_is_warmed_at_what_it_is_tuned_for(self, adapted):
        model, made, config = adapted
        assert len(config.model_warmup) == len(made)
        for warmup, profile in zip(config.model_warmup, made, strict=True):
            assert set(warmup.inputs) == {tensor.name for tensor in model.inputs}
            for tensor in model.inputs:
                given = warmup.inputs[tensor.name]
                assert (warmup.batch_size, *given.dims) == profile[tensor.name].opt
                assert model_config_pb2.DataType.Name(given.data_type) == f"TYPE_{tensor.dtype}"
                assert given.zero_data

    def test_graphs_are_captured_for_the_likeliest_shapes_alone(self, adapted):
        model, made, config = adapted
        wanted = [chosen for chance, chosen in usual_lengths(model, LENGTHS) if chance >= GRAPH_CHANCE][:GRAPHS]
        specs = config.optimization.cuda.graph_spec
        assert wanted
        assert config.optimization.cuda.graphs
        assert len(specs) == len(wanted)
        for spec, chosen in zip(specs, wanted, strict=True):
            assert spec.batch_size == 1
            assert not spec.HasField("graph_lower_bound")
            assert set(spec.input) == {tensor.name for tensor in model.inputs}
            free = [
                dim
                for t in model.inputs
                for have, dim in zip(t.dims, spec.input[t.name].dim, strict=True)
                if have == -1
            ]
            assert set(free) == set(chosen.values())
            assert [all(p[t.name].admits((1, *spec.input[t.name].dim)) for t in model.inputs) for p in made].count(
                True
            ) == 1

    def test_no_graph_where_no_shape_is_likely(self, tmp_path):
        config = tmp_path / "config.pbtxt"
        shutil.copy(SOURCES / "encoder/config.pbtxt", config)
        spread = {**LENGTHS, "query": dict.fromkeys(range(1, 65), 1)}
        adapt(config, profiles(MODELS["encoder"], spread, 64), spread)
        parsed = text_format.Parse(config.read_text(), model_config_pb2.ModelConfig())
        assert not parsed.optimization.cuda.graphs

    def test_contexts_take_the_memory_of_their_own_profile(self, adapted):
        assert adapted[2].parameters[CONTEXT_MEMORY].string_value == "ON_PROFILE_CHANGE"

    def test_all_else_stays_as_it_was(self, adapted):
        model, _, config = adapted
        plain = text_format.Parse((SOURCES / model.name / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        for one in (plain, config):
            for field in ("model_warmup", "optimization", "parameters"):
                one.ClearField(field)
            for group in one.instance_group:
                group.ClearField("profile")
        assert plain == config


class TestCommandLine:
    def test_help_says_what_it_does(self, capsys):
        with pytest.raises(SystemExit, match="0"):
            program.main(["--help"])
        assert "never touched" in capsys.readouterr().out

    def test_without_tensorrt_it_ends_with_the_cure(self, out):
        with pytest.raises(SystemExit, match=r"error: TensorRT cannot be used here .*make engines"):
            program.main(["--release", str(out / "releases/current"), "--precision", "int8"])

    @pytest.mark.parametrize("flag", ["--runs", "--workspace-mb"])
    def test_numbers_below_one_are_refused(self, flag, capsys):
        with pytest.raises(SystemExit):
            program.main(["--release", "x", "--precision", "int8", flag, "0"])
        assert f"argument {flag}: 0 is less than 1" in capsys.readouterr().err

    def test_catalogue_and_judgments_go_together(self, tmp_path):
        with pytest.raises(DataError, match="needs both --catalogue and --judgments"):
            program.read(tmp_path / "products.csv", None, "dev")
        assert program.read(None, None, "dev") is None

    def test_the_whole_command_publishes(self, out, trt, monkeypatch, capsys):
        monkeypatch.setattr(program.api, "tensorrt", lambda: trt)
        monkeypatch.setattr(program, "Gpu", CpuDevice)
        line = ["--release", str(out / "releases/current"), "--precision", "fp16", "--runs", "2"]
        program.main([*line, "--out", str(out / "report")])
        assert read_record(out / "releases/current/ranker/2/engine.json").precision == "fp16"
        assert "Published as release 2." in capsys.readouterr().out

    def test_ctrl_c_is_no_traceback(self, out, trt, monkeypatch):
        def stop() -> None:
            raise KeyboardInterrupt

        trt.during_build = stop
        monkeypatch.setattr(program.api, "tensorrt", lambda: trt)
        monkeypatch.setattr(program, "Gpu", CpuDevice)
        with pytest.raises(SystemExit, match="stopped; nothing was published"):
            program.main(["--release", str(out / "releases/current"), "--precision", "fp16"])
        assert names(out / "releases") == {"1", "current"}


def test_vectors_of_the_small_models_are_kept_by_the_engine(out, trt):
    """The engines' Ensembles rank like the masters': the sessions are interchangeable."""
    made = run(out, trt)
    engine = EngineSession(made / "encoder/2", trt=trt, device=CpuDevice())
    ids, mask = np.array([[2, 5, 9, 3]]), np.ones((1, 4), np.int64)
    wanted = quality.master_session(made / "encoder/2/int8.onnx").run(None, {"input_ids": ids, "attention_mask": mask})
    for one, other in zip(engine.run(None, {"input_ids": ids, "attention_mask": mask}), wanted, strict=True):
        np.testing.assert_array_equal(one, other)
