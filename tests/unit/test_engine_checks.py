"""An engine is held against its master in every corner, and what is compared is what orders products."""

import json

import numpy as np
import pytest
import torch

from build.engines import stage
from build.engines.buckets import profiles
from build.engines.builder import Options
from build.engines.checks import check_variation, check_vocabulary, compare, difference, master_session, own_feeds
from build.engines.feeds import feeds
from build.engines.stage import Bench, EngineRefused, Job, build_engine
from build.training.models import Ranker
from shelfbridge.contract import MODELS, SHORTLIST, SIGNALS, TOKEN_WIDTH
from shelfbridge.engine import EngineRecord, read_record
from shelfbridge.errors import ArtefactError
from tests.functional import tiny
from tests.unit.engine_double import CpuDevice
from tests.unit.engine_samples import LENGTHS, PLAIN, QUIET, RANKER, STEP, WORDS, write_graphs
from tests.unit.tensorrt_double import TensorRTDouble

CROSS_ENCODER = MODELS["cross_encoder"]
CORNER = {tensor.name: tuple(12 if dim == -1 else dim for dim in (2, *tensor.dims)) for tensor in CROSS_ENCODER.inputs}


class CrossEncoder:
    """Random logits for the shortlist, blended as the served graph blends them."""

    def __init__(self, weight: float, seed: int) -> None:
        self._weight, self._seed = weight, seed

    def run(self, outputs, inputs):
        scores = inputs["sorted_scores"].copy()
        logits = np.random.default_rng(self._seed).standard_normal((len(scores), SHORTLIST))
        scores[:, :SHORTLIST] += np.float32(self._weight) * logits.astype(np.float32)
        return [scores]


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    return write_graphs(tmp_path_factory.mktemp("graphs"))


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
        build_engine(tmp_path / name, job=Job(name, graphs[name], made, options, WORDS), bench=bench)
        return bench

    return make


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
        job = Job("ranker", cast, profiles(MODELS["ranker"], LENGTHS, 1), PLAIN, WORDS)
        with pytest.raises(ArtefactError, match="Cast"):
            build_engine(tmp_path, job=job, bench=Bench(trt, CpuDevice(), tmp_path, 1, QUIET))
        assert trt.calls == []

    def test_an_engine_that_differs_from_its_master_is_refused(self, trt, made_for):
        trt.outputs_times = 1.03
        with pytest.raises(
            EngineRefused, match=r"encoder, profile 0, min .*differs from its master by 0\.03 .*at most"
        ):
            made_for(trt)

    def test_an_engine_that_gives_no_number_is_refused(self, trt, made_for):
        trt.outputs_times = float("nan")
        with pytest.raises(EngineRefused, match="differs from its master by inf") as refused:
            made_for(trt)
        json.dumps(refused.value.told, allow_nan=False)

    def test_one_corner_that_fails_is_named_and_the_others_are_seen(self, trt, made_for):
        def fails(shapes: dict[str, tuple[int, ...]]) -> None:
            if shapes["input_ids"][0] == 4:
                raise MemoryError("CUDA out of memory")

        trt.during_run = fails
        with pytest.raises(EngineRefused, match=r"max .*: MemoryError: CUDA out of memory$") as refused:
            made_for(trt)
        told = refused.value.told
        assert told["plan_mb"] > 0
        failed = [seen for seen in told["checks"] if seen["refused"]]
        assert 0 < len(failed) < len(told["checks"])
        assert {seen["shapes"]["input_ids"][0] for seen in failed} == {4}
        assert all(
            (seen["median_ms"] is None) == (seen["difference"] is None) == (seen in failed) for seen in told["checks"]
        )

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
                found = reference.run(None, inputs)
                found[0][-1] += 1
                return found

        reference = master_session(graphs["encoder"])
        inputs = feeds(MODELS["encoder"], {"input_ids": (9, 5), "attention_mask": (9, 5)}, WORDS)
        assert compare(WrongAtTheEnd(), reference, MODELS["encoder"], inputs) > 0.1

    @pytest.mark.parametrize(("weight", "sign"), [(0.02, -1), (0.02, 0), (1.0, -1)])
    def test_logits_of_another_cross_encoder_differ_whatever_their_weight(self, weight, sign):
        """Most of its scores are the ranker's own, passed through, which would hide them."""
        inputs = own_feeds(CROSS_ENCODER, CORNER, WORDS)
        expected, other = (CrossEncoder(weight, seed) for seed in (1, 2))
        unrelated = CrossEncoder(sign * weight, 2)
        assert compare(expected, expected, CROSS_ENCODER, inputs) == 0
        assert compare(unrelated, expected, CROSS_ENCODER, inputs) > 0.9
        assert compare(other, expected, CROSS_ENCODER, inputs) > 0.9

    def test_a_common_shift_of_the_shortlist_is_no_difference(self):
        class Shifted(CrossEncoder):
            def run(self, outputs, inputs):
                (scores,) = super().run(outputs, inputs)
                scores[:, :SHORTLIST] += 0.5
                return [scores]

        inputs = own_feeds(CROSS_ENCODER, CORNER, WORDS)
        assert compare(Shifted(0.02, 1), CrossEncoder(0.02, 1), CROSS_ENCODER, inputs) < 1e-3

    def test_a_score_that_is_no_number_is_seen_behind_the_shortlist_too(self):
        class Broken(CrossEncoder):
            def run(self, outputs, inputs):
                (scores,) = super().run(outputs, inputs)
                scores[:, -1] = np.nan
                return [scores]

        inputs = own_feeds(CROSS_ENCODER, CORNER, WORDS)
        assert compare(Broken(0.02, 1), CrossEncoder(0.02, 1), CROSS_ENCODER, inputs) == float("inf")

    def test_rounding_the_rankers_inputs_does_not_change_which_company_counts(self):
        """Late interaction of random vectors ties around the tenth place; what it picks must not matter."""
        ranker = Ranker(1 / 127)
        sizes = iter((8, 12))  # word pieces of the query, of a candidate
        shapes = {
            tensor.name: tuple(next(sizes) if dim == -1 else dim for dim in (64, *tensor.dims))
            for tensor in MODELS["ranker"].inputs
        }
        exact = feeds(MODELS["ranker"], shapes, WORDS)
        noise = np.random.default_rng(1).normal(1, 0.002, exact["token_vectors"].shape).astype(np.float32)
        rough = {**exact, "token_vectors": exact["token_vectors"] * noise}
        first, second = (
            ranker.features(*(torch.from_numpy(drawn[tensor.name]) for tensor in MODELS["ranker"].inputs))[..., 4]
            for drawn in (exact, rough)
        )
        assert float((first - second).abs().max()) < 0.005
        assert float(first.std()) > 0.1

    def test_feeds_are_of_the_models_types(self, graphs):
        for name, path in graphs.items():
            shapes = {n: r.max for n, r in profiles(MODELS[name], LENGTHS, 2)[-1].items()}
            drawn = feeds(MODELS[name], shapes, WORDS)
            assert {n: a.shape for n, a in drawn.items()} == shapes
            outputs = master_session(path).run(None, drawn)
            assert all(np.isfinite(output).all() for output in outputs)

    def test_a_graph_that_cannot_be_loaded_is_named(self, tmp_path):
        (tmp_path / "int8.onnx").write_bytes(b"no graph")
        with pytest.raises(ArtefactError, match=r"int8\.onnx cannot be read as an ONNX model"):
            master_session(tmp_path / "int8.onnx")


class TestVocabulary:
    """A lookup beyond the table reads other memory on a GPU; nothing there says so."""

    def test_a_tokenizer_with_more_word_pieces_than_rows_is_refused_by_name(self, graphs):
        check_vocabulary(graphs["encoder"], MODELS["encoder"], WORDS)
        with pytest.raises(ArtefactError, match=r"encoder\.onnx: its embedding has 50 rows, .* knows 51 word pieces"):
            check_vocabulary(graphs["encoder"], MODELS["encoder"], WORDS + 1)

    def test_rows_are_counted_behind_casts_and_quantisation(self, tmp_path):
        text = tiny.ENCODER.replace(
            "words = Gather (dense, input_ids)",
            """again = Cast <to = 7> (input_ids)
    table = DequantizeLinear (dense, step)
    words = Gather (table, again)""",
        )
        dense, late = np.ones((30, 384), np.int8), np.ones((WORDS, TOKEN_WIDTH), np.float32)
        tiny.write_model(tmp_path / "int8.onnx", text, dense=dense, late=late, step=STEP)
        with pytest.raises(ArtefactError, match="its embedding has 30 rows"):
            check_vocabulary(tmp_path / "int8.onnx", MODELS["encoder"], 31)

    def test_it_is_looked_at_before_the_build(self, trt, graphs, tmp_path):
        job = Job("encoder", graphs["encoder"], profiles(MODELS["encoder"], LENGTHS, 1), PLAIN, WORDS + 1)
        with pytest.raises(ArtefactError, match="its embedding has 50 rows"):
            build_engine(tmp_path, job=job, bench=Bench(trt, CpuDevice(), tmp_path, 1, QUIET))
        assert trt.calls == []
