"""The builder and the runtime keep to TensorRT's API, as the recording double beside this file holds them to."""

import io
import json
import os
import signal
import threading

import numpy as np
import pytest
from rich.console import Console

from build.engines import api, stage
from build.engines.buckets import profiles
from build.engines.builder import Options, Watch, build_plan
from build.engines.checks import check_variation, compare, difference, master_session
from build.engines.feeds import feeds
from build.engines.runtime import EngineSession, Gpu
from build.engines.stage import Bench, Job, build_engine
from build.training import progress
from shelfbridge.contract import MODELS, SIGNALS
from shelfbridge.engine import EngineRecord, read_record
from shelfbridge.errors import ArtefactError, PrerequisiteError
from tests.functional import tiny
from tests.unit.tensorrt_double import BuilderFlag, CpuDevice, MemoryPoolType, TensorRTDouble, WithFlag

QUIET = Console(file=io.StringIO())
LENGTHS = {"query": {5: 30, 8: 50}, "product": {20: 60, 33: 40}, "pair": {48: 10, 60: 30}}
FLAVOURS = {"10.12": ("10.12.0.36", True), "11": ("11.1.0.106", True), "flagless": ("12.0.0.1", False)}
RANKER = (
    tiny.RANKER.replace("SIGNALS", str(len(SIGNALS)))
    .replace("Cast <to = 1> (candidate_tokens)", "DequantizeLinear (candidate_tokens, step)")
    .replace(
        'products = Einsum <equation = "nsd,nctd->ncst"> (token_vectors, tokens)',
        """turned = Transpose <perm = [0, 2, 1]> (token_vectors)
    one = Constant <value = int64[1] {1}> ()
    queries = Unsqueeze (turned, one)
    products = MatMul (tokens, queries)
    two = Constant <value = int64[1] {2}> ()""",
    )
    .replace("ReduceMax <keepdims = 0> (products, last)", "ReduceMax <keepdims = 0> (products, two)")
)
"""The small ranker without the cast that TensorRT's parser lacks for int8, and without the slow Einsum."""
STEP = np.array(1, np.float32)
WORDS = 50
PLAIN = Options()


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs")
    dense, late = tiny.tables(WORDS)
    tiny.write_model(folder / "encoder.onnx", tiny.ENCODER, dense=dense, late=late)
    tiny.write_model(folder / "ranker.onnx", RANKER, step=STEP)
    tiny.write_model(folder / "cross_encoder.onnx", tiny.CROSS_ENCODER)
    return {name: folder / f"{name}.onnx" for name in ("encoder", "ranker", "cross_encoder")}


@pytest.fixture
def trt():
    return TensorRTDouble()


@pytest.fixture
def made_for(tmp_path, graphs):
    """Build the encoder's engine with a double, in a folder of its own."""

    def make(trt: TensorRTDouble, name: str = "encoder", options: Options = PLAIN, batch: int = 4) -> Bench:
        bench = Bench(trt, CpuDevice(), tmp_path / "caches", runs=3, console=QUIET)
        (tmp_path / name).mkdir()
        made = profiles(MODELS[name], LENGTHS, batch)
        build_engine(tmp_path / name, job=Job(name, graphs[name], "fp16", made, options, WORDS), bench=bench)
        return bench

    return make


def plan(trt, graph, cache, options=PLAIN, console=QUIET):
    return build_plan(trt, graph, profiles(MODELS["encoder"], LENGTHS, 4), options, cache=cache, console=console)


class TestImporting:
    def test_without_tensorrt_the_cure_is_said(self):
        with pytest.raises(PrerequisiteError, match=r"TensorRT cannot be used here .*\(make engines\)"):
            api.tensorrt()

    @pytest.mark.parametrize("version", ["8.6.1", "10.11.0.33"])
    def test_an_old_one_is_refused(self, monkeypatch, version):
        monkeypatch.setattr(api.importlib, "import_module", lambda name: TensorRTDouble(version))
        with pytest.raises(PrerequisiteError, match=f"TensorRT {version} is older than 10.12"):
            api.tensorrt()

    @pytest.mark.parametrize("version", ["10.12.0.36", "11.4.0.1"])
    def test_a_newer_one_is_taken(self, monkeypatch, version):
        monkeypatch.setattr(api.importlib, "import_module", lambda name: TensorRTDouble(version))
        assert api.tensorrt().__version__ == version

    def test_without_a_gpu_the_cure_is_said(self, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        with pytest.raises(PrerequisiteError, match="no CUDA device"):
            Gpu()


class TestBuilding:
    @pytest.mark.parametrize("flavour", FLAVOURS)
    def test_the_network_is_strongly_typed_in_every_version(self, flavour, graphs, tmp_path):
        version, flag = FLAVOURS[flavour]
        trt = TensorRTDouble(version, flag=flag)
        plan(trt, graphs["encoder"], tmp_path / "cache")
        assert trt.named("create_network") == [(1 << WithFlag.STRONGLY_TYPED if flag else 0,)]
        assert trt.named("set_flag") == []

    def test_profiles_are_added_as_they_are(self, trt, graphs, tmp_path):
        plan(trt, graphs["encoder"], tmp_path / "cache")
        wanted = profiles(MODELS["encoder"], LENGTHS, 4)
        assert len(wanted) > 1
        assert trt.named("add_optimization_profile") == [
            ({name: [shapes.min, shapes.opt, shapes.max] for name, shapes in profile.items()},) for profile in wanted
        ]

    def test_options_are_passed_on(self, trt, graphs, tmp_path):
        plan(trt, graphs["encoder"], tmp_path / "cache", Options(True, True, 512))
        assert trt.named("set_flag") == [(BuilderFlag.VERSION_COMPATIBLE,), (BuilderFlag.REFIT,)]
        assert trt.named("set_memory_pool_limit") == [(MemoryPoolType.WORKSPACE, 512 * 2**20)]

    def test_timings_are_kept_and_used_again(self, trt, graphs, tmp_path):
        cache = tmp_path / "caches/a.timings"
        plan(trt, graphs["encoder"], cache)
        assert cache.read_bytes() == b"+"
        plan(trt, graphs["encoder"], cache)
        assert trt.named("set_timing_cache") == [(b"",), (b"+",)]
        assert cache.read_bytes() == b"++"
        assert [path.name for path in cache.parent.iterdir()] == ["a.timings"]

    def test_timings_that_tensorrt_refuses_are_as_good_as_none(self, trt, graphs, tmp_path):
        cache = tmp_path / "a.timings"
        cache.write_bytes(b"of another version")
        trt.refused_timings = {b"of another version"}
        plan(trt, graphs["encoder"], cache)
        assert trt.named("set_timing_cache") == [(b"",)]

    def test_timings_of_another_gpu_or_version_are_not_looked_at(self, trt):
        def file(trt: TensorRTDouble, capability: str) -> str:
            return Bench(trt, CpuDevice(capability), stage.Path("caches"), 1, QUIET).timings.name

        assert len({file(trt, "9.0"), file(trt, "8.9"), file(TensorRTDouble("11.1.0.106"), "9.0")}) == 3

    def test_every_parser_error_is_named(self, trt, graphs, tmp_path):
        trt.parser_errors = [("/layer/Einsum", "Einsum", "no ellipsis"), ("", "", "something else")]
        with pytest.raises(ArtefactError) as refused:
            plan(trt, graphs["encoder"], tmp_path / "cache")
        assert "node /layer/Einsum (Einsum): no ellipsis; node 7 (no operator): something else" in str(refused.value)
        assert trt.named("step") == []

    def test_a_failed_build_tells_tensorrts_reason(self, trt, graphs, tmp_path):
        trt.build_error = "could not find any implementation for node X"
        with pytest.raises(ArtefactError, match=r"encoder\.onnx: could not find any implementation for node X; free"):
            plan(trt, graphs["encoder"], tmp_path / "cache")
        assert not (tmp_path / "cache").exists()

    def test_layers_are_inspected(self, trt, graphs, tmp_path):
        built = plan(trt, graphs["encoder"], tmp_path / "cache")
        assert json.loads(built.layers)["Layers"][0]["LayerType"] == "gemm"
        assert built.seconds > 0

    def test_layers_that_are_no_json_are_kept_as_they_are(self, trt, graphs, tmp_path, monkeypatch):
        monkeypatch.setattr("tests.unit.tensorrt_double.InspectorDouble.get_engine_information", lambda *_: "{nan")
        assert json.loads(plan(trt, graphs["encoder"], tmp_path / "cache").layers) == {"unreadable": "{nan"}

    def test_a_profile_that_tensorrt_refuses_is_named(self, trt, graphs, tmp_path, monkeypatch):
        monkeypatch.setattr("tests.unit.tensorrt_double.ConfigDouble.add_optimization_profile", lambda *_: -1)
        with pytest.raises(ArtefactError, match=r"refuses profile 0 of .*encoder\.onnx"):
            plan(trt, graphs["encoder"], tmp_path / "cache")


class TestProgress:
    def test_phases_are_shown(self, graphs, tmp_path):
        shown = io.StringIO()
        trt = TensorRTDouble()
        plan(trt, graphs["encoder"], tmp_path / "cache", console=Console(file=shown, force_terminal=True))
        assert len(trt.named("step")) == 7
        assert "Building engine" in shown.getvalue()
        assert "Timing kernels" in shown.getvalue()

    def test_ctrl_c_ends_the_build_at_the_next_step(self, trt, graphs, tmp_path):
        pressed = threading.Event()

        def press() -> None:
            if not pressed.is_set():
                pressed.set()
                os.kill(os.getpid(), signal.SIGINT)
            else:
                threading.Event().wait(0.2)

        trt.during_build = press
        with pytest.raises(KeyboardInterrupt):
            plan(trt, graphs["encoder"], tmp_path / "cache")
        assert 1 <= len(trt.named("step")) < 7
        assert not (tmp_path / "cache").exists()

    def test_an_unknown_phase_is_no_failure(self):
        with progress(QUIET) as bar:
            watch = Watch(bar, threading.Event())
            assert watch.step_complete("never begun", 3)
            watch.phase_finish("never begun")


class TestStage:
    def test_writes_plan_record_layers_and_checks(self, trt, made_for, graphs, tmp_path):
        made_for(trt)
        assert {path.name for path in (tmp_path / "encoder").iterdir()} == {
            "model.plan",
            "engine.json",
            "engine_layers.json",
            "engine_checks.json",
        }
        record = read_record(tmp_path / "encoder/engine.json")
        assert record == EngineRecord(
            model="encoder",
            precision="fp16",
            tensorrt=trt.__version__,
            gpu=CpuDevice.name,
            compute_capability="9.0",
            plan_sha256=stage.file_digest(tmp_path / "encoder/model.plan"),
            master="encoder.onnx",
            master_sha256=stage.file_digest(graphs["encoder"]),
            profiles=profiles(MODELS["encoder"], LENGTHS, 4),
            version_compatible=False,
            refittable=False,
            workspace_mb=None,
            build_seconds=record.build_seconds,
        )

    @pytest.mark.parametrize("name", ["encoder", "ranker", "cross_encoder"])
    def test_every_corner_of_every_profile_is_compared_and_timed(self, trt, made_for, tmp_path, name):
        made_for(trt, name, batch=2)
        seen = json.loads((tmp_path / name / "engine_checks.json").read_text())
        wanted = profiles(MODELS[name], LENGTHS, 2)
        assert [(one["profile"], one["corner"]) for one in seen] == [
            (number, corner) for number in range(len(wanted)) for corner in ("min", "opt", "max")
        ]
        assert {one["difference"] for one in seen} == {0.0}
        assert all(0 < one["median_ms"] <= one["p99_ms"] for one in seen)

    def test_the_operator_table_is_asked_before_tensorrt(self, trt, made_for, graphs, monkeypatch):
        def refuse(path):
            assert path == graphs["encoder"]
            raise ArtefactError("not in the table")

        monkeypatch.setattr(stage, "check_graph", refuse)
        with pytest.raises(ArtefactError, match="not in the table"):
            made_for(trt)
        assert trt.calls == []

    def test_a_graph_that_the_table_forbids_is_refused(self, trt, tmp_path, graphs):
        cast = tmp_path / "cast.onnx"
        tiny.write_model(cast, tiny.RANKER.replace("SIGNALS", str(len(SIGNALS))))
        job = Job("ranker", cast, "int8", profiles(MODELS["ranker"], LENGTHS, 1), Options(), WORDS)
        with pytest.raises(ArtefactError, match="Cast"):
            build_engine(tmp_path, job=job, bench=Bench(trt, CpuDevice(), tmp_path, 1, QUIET))
        assert trt.calls == []

    def test_an_engine_that_differs_from_its_master_is_refused(self, trt, made_for):
        trt.outputs_times = 1.03
        with pytest.raises(
            ArtefactError, match=r"encoder, profile 0, min .*differs from its master by 0\.03 .*at most"
        ):
            made_for(trt)

    def test_an_engine_that_gives_no_number_is_refused(self, trt, made_for):
        trt.outputs_times = float("nan")
        with pytest.raises(ArtefactError, match="differs from its master by inf"):
            made_for(trt)

    def test_a_version_compatible_plan_may_bring_its_runtime(self, trt, made_for, tmp_path):
        made_for(trt, options=Options(version_compatible=True))
        assert read_record(tmp_path / "encoder/engine.json").version_compatible


class TestChecks:
    @pytest.mark.parametrize("name", ["ranker", "cross_encoder"])
    def test_one_score_for_everything_is_refused(self, name, tmp_path):
        """Such a head is what a softmax over one logit gives, or a checkpoint read by the wrong loader."""
        text = RANKER if name == "ranker" else tiny.CROSS_ENCODER
        last = "scores = Mul (both, present)" if name == "ranker" else "top = Add (first, offset)"
        dead = {
            "scores = Mul (both, present)": "zero = Constant <value_float = 0.0> ()\n    scores = Mul (both, zero)",
            "top = Add (first, offset)": "zero = Constant <value_float = 0.0> ()\n    none = Mul (offset, zero)\n"
            "    top = Add (first, none)",
        }[last]
        tiny.write_model(tmp_path / "dead.onnx", text.replace(last, dead), step=STEP)
        (profile, *_) = profiles(MODELS[name], LENGTHS, 1)
        with pytest.raises(ArtefactError, match=f"{name} gives the same score to every candidate"):
            check_variation(master_session(tmp_path / "dead.onnx"), MODELS[name], profile, WORDS)

    @pytest.mark.parametrize("name", ["encoder", "ranker", "cross_encoder"])
    def test_a_model_that_tells_candidates_apart_passes(self, name, graphs):
        (profile, *_) = profiles(MODELS[name], LENGTHS, 1)
        check_variation(master_session(graphs[name]), MODELS[name], profile, WORDS)

    def test_difference_is_relative_and_infinite_for_what_is_no_number(self):
        ones = np.ones((2, 3), np.float32)
        assert difference(ones * 1.5, ones) == pytest.approx(0.5)
        assert difference(ones * np.nan, ones) == float("inf")
        assert difference(np.ones((2, 2), np.float32), ones) == float("inf")

    def test_the_last_rows_of_a_batch_are_compared_too(self, graphs):
        class WrongAtTheEnd:
            def run(self, outputs, inputs):
                found = master_session(graphs["encoder"]).run(None, inputs)
                found[0][-1] += 1
                return found

        inputs = feeds(MODELS["encoder"], {"input_ids": (9, 5), "attention_mask": (9, 5)}, WORDS)
        with pytest.raises(ArtefactError, match="here: the engine differs"):
            compare(WrongAtTheEnd(), master_session(graphs["encoder"]), inputs, "here", 0.02)

    def test_feeds_are_of_the_models_types(self, graphs):
        for name, path in graphs.items():
            shapes = {n: r.max for n, r in profiles(MODELS[name], LENGTHS, 2)[-1].items()}
            drawn = feeds(MODELS[name], shapes, WORDS)
            assert {n: a.shape for n, a in drawn.items()} == shapes
            outputs = master_session(path).run(None, drawn)
            assert all(np.isfinite(output).all() for output in outputs)

    def test_a_graph_that_cannot_be_loaded_is_named(self, tmp_path):
        (tmp_path / "int8.onnx").write_bytes(b"no graph")
        with pytest.raises(ArtefactError, match=r"int8\.onnx cannot be loaded"):
            master_session(tmp_path / "int8.onnx")


class TestSession:
    @pytest.fixture
    def session(self, trt, made_for, tmp_path):
        bench = made_for(trt)
        trt.calls.clear()
        return EngineSession(tmp_path / "encoder", trt=trt, device=bench.device)

    @pytest.mark.parametrize("shape", [(1, 3), (1, 64), (2, 8), (4, 33)])
    def test_answers_like_onnxruntime(self, session, graphs, shape):
        inputs = feeds(MODELS["encoder"], {"input_ids": shape, "attention_mask": shape}, WORDS)
        wanted = master_session(graphs["encoder"]).run(None, inputs)
        for one, other in zip(session.run(None, inputs), wanted, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_takes_arrays_that_are_not_contiguous(self, session, graphs):
        wide = np.arange(40, dtype=np.int64).reshape(4, 10) % WORDS
        inputs = {"input_ids": wide[:, ::2], "attention_mask": np.ones((4, 5), np.int64)}
        wanted = master_session(graphs["encoder"]).run(None, inputs)
        np.testing.assert_array_equal(session.run(None, inputs)[0], wanted[0])

    def test_makes_one_context_per_profile_that_is_used(self, session, trt):
        chosen = []
        for shape in ((1, 8), (1, 7), (3, 8), (1, 8)):
            session.run(None, feeds(MODELS["encoder"], {"input_ids": shape, "attention_mask": shape}, WORDS))
            chosen.append(session.choose({"input_ids": shape, "attention_mask": shape}))
        assert chosen[0] == chosen[1] == chosen[3] != chosen[2]
        assert trt.named("set_optimization_profile") == [(chosen[0],), (chosen[2],)]

    @pytest.mark.parametrize("shape", [(5, 8), (1, 65)])
    def test_a_shape_beyond_all_profiles_is_refused(self, session, shape):
        inputs = feeds(MODELS["encoder"], {"input_ids": shape, "attention_mask": shape}, WORDS)
        with pytest.raises(ArtefactError, match="no optimization profile admits"):
            session.run(None, inputs)

    def test_a_wrong_type_or_a_missing_input_is_refused(self, session):
        ids = np.ones((1, 8), np.int64)
        with pytest.raises(ArtefactError, match="wants int64 for attention_mask and was given int32"):
            session.run(None, {"input_ids": ids, "attention_mask": ids.astype(np.int32)})
        with pytest.raises(ArtefactError, match="wants int64 for attention_mask and was given nothing"):
            session.run(None, {"input_ids": ids})

    def test_another_version_gpu_or_file_is_refused_before_loading(self, session, trt, tmp_path):
        folder = tmp_path / "encoder"
        with pytest.raises(ArtefactError, match=r"built by TensorRT 10\.15\.1, but this is 11\.1\.0"):
            EngineSession(folder, trt=TensorRTDouble("11.1.0.106"), device=CpuDevice())
        with pytest.raises(ArtefactError, match=r"this GPU has 8\.9"):
            EngineSession(folder, trt=trt, device=CpuDevice("8.9"))
        (folder / "model.plan").write_bytes(b"another")
        with pytest.raises(ArtefactError, match="was changed since it was built"):
            EngineSession(folder, trt=trt, device=CpuDevice())

    def test_a_plan_that_does_not_load_tells_tensorrts_reason(self, session, trt, tmp_path):
        trt.load_error = "out of memory"
        with pytest.raises(ArtefactError, match=r"model\.plan cannot be loaded \(out of memory\)"):
            EngineSession(tmp_path / "encoder", trt=trt, device=CpuDevice())

    def test_an_engine_of_another_model_is_refused(self, session, trt, tmp_path):
        file = tmp_path / "encoder/engine.json"
        file.write_text(read_record(file).model_copy(update={"model": "cross_encoder"}).model_dump_json())
        with pytest.raises(ArtefactError, match="has the tensors attention_mask, embedding, input_ids, token_vectors"):
            EngineSession(tmp_path / "encoder", trt=trt, device=CpuDevice())
