"""An engine's session answers like onnxruntime's, and says what it cannot load or run."""

import numpy as np
import pytest

from build.engines.buckets import profiles
from build.engines.checks import master_session
from build.engines.feeds import feeds
from build.engines.runtime import EngineSession
from build.engines.stage import Bench, Job, build_engine
from shelfbridge.contract import MODELS
from shelfbridge.engine import read_record
from shelfbridge.errors import ArtefactError
from tests.unit.engine_double import CpuDevice, ExecutionContextAllocationStrategy
from tests.unit.engine_samples import LENGTHS, PLAIN, QUIET, WORDS, write_graphs
from tests.unit.tensorrt_double import TensorRTDouble


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    return write_graphs(tmp_path_factory.mktemp("graphs"))


@pytest.fixture
def trt():
    return TensorRTDouble()


class TestSession:
    @pytest.fixture
    def session(self, trt, graphs, tmp_path):
        (tmp_path / "encoder").mkdir()
        job = Job("encoder", graphs["encoder"], profiles(MODELS["encoder"], LENGTHS, 4), PLAIN, WORDS)
        build_engine(
            tmp_path / "encoder", job=job, bench=Bench(trt, CpuDevice(), tmp_path / "caches", runs=3, console=QUIET)
        )
        trt.calls.clear()
        return EngineSession(tmp_path / "encoder", trt=trt, device=CpuDevice())

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
        assert set(trt.named("create_execution_context")) == {(ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE,)}

    def test_a_context_that_lacks_memory_is_said_with_its_cure(self, session, trt):
        trt.context_error = "out of memory"
        inputs = feeds(MODELS["encoder"], {"input_ids": (1, 8), "attention_mask": (1, 8)}, WORDS)
        with pytest.raises(ArtefactError, match=r"\(out of memory\); free the GPU's memory, or lower max_batch_size"):
            session.run(None, inputs)

    @pytest.mark.parametrize("shape", [(5, 8), (1, 65)])
    def test_a_shape_beyond_all_profiles_is_refused(self, session, shape):
        inputs = feeds(MODELS["encoder"], {"input_ids": shape, "attention_mask": shape}, WORDS)
        with pytest.raises(ArtefactError, match="no optimization profile admits"):
            session.run(None, inputs)

    def test_a_wrong_type_or_a_missing_input_is_refused(self, session):
        ids = np.ones((1, 8), np.int64)
        with pytest.raises(ArtefactError, match=r"wants int64 for attention_mask and was given int32; give it"):
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
