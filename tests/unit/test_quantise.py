"""From fp32 to int8: what is written, how near it comes, and what is refused."""

from typing import get_args

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from quantised import feeds, write_encoder
from torch import nn

from build.compression import qdq, quantise
from build.compression.export import export_ranker
from build.compression.fidelity import cosines, hold, outputs, session
from build.compression.quantise import check_feeds, percentiles, quantise_ranker, write
from build.engines.operators import check_graph
from build.settings import Method
from build.training.models import Ranker
from shelfbridge.contract import CANDIDATES, SIGNALS, TOKEN_WIDTH
from shelfbridge.errors import ArtefactError, DataError

METHODS = get_args(Method)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def made(graph, tmp_path_factory):
    """A folder per method."""
    folders = {method: tmp_path_factory.mktemp(method) for method in METHODS}
    for method, folder in folders.items():
        quantise.quantise(folder, graph=graph, feeds=feeds(), method=method)
    return folders


class TestQuantise:
    @pytest.mark.parametrize("method", METHODS)
    def test_comes_near_fp32_on_rows_it_has_not_seen(self, made, graph, method):
        held = feeds(4, seed=5)
        found = cosines(outputs(session(graph), held), outputs(session(made[method] / "model.onnx"), held))
        assert min(found.values()) > 0.98

    def test_the_methods_differ_in_the_activations_alone(self, made):
        masters = [onnx.load(folder / "int8.onnx") for folder in made.values()]
        scales = [tuple(qdq.activations(master).values()) for master in masters]
        assert len(set(scales)) > 1
        first, *others = [
            [tensor for tensor in master.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
            for master in masters
        ]
        assert first
        assert all(other == first for other in others)

    def test_tensorrt_takes_the_master_and_not_the_cpu_s_form(self, made):
        check_graph(made["entropy"] / "int8.onnx")
        with pytest.raises(ArtefactError, match="zero-point 0"):
            check_graph(made["entropy"] / "model.onnx")

    def test_a_layer_can_be_kept_in_floating_point(self, made, graph, tmp_path):
        first, *others = qdq.linears(onnx.load(made["max"] / "int8.onnx"))
        quantise.quantise(tmp_path, graph=graph, feeds=feeds(), method="max", keep=[first])
        assert qdq.linears(onnx.load(tmp_path / "int8.onnx")) == others

    def test_prints_nothing_of_its_tools(self, graph, tmp_path, capfd):
        quantise.quantise(tmp_path, graph=graph, feeds=feeds(), method="max")
        assert capfd.readouterr() == ("", "")


class TestRefuses:
    def test_a_calibration_set_that_is_too_small(self, graph, tmp_path):
        with pytest.raises(DataError, match=r"too small \(96 rows\); give at least 100"):
            quantise.quantise(tmp_path, graph=graph, feeds=feeds(6))
        assert not list(tmp_path.iterdir())

    def test_a_batch_that_is_all_padding(self):
        batches = feeds()
        batches[3] = {**batches[3], "attention_mask": np.zeros_like(batches[3]["attention_mask"])}
        with pytest.raises(DataError, match="all padding; draw it from real queries"):
            check_feeds(batches)

    def test_rows_of_padding_do_not_count(self):
        mask = np.ones((16, 4), np.int64)
        mask[1:] = 0
        with pytest.raises(DataError, match=r"\(8 rows\)"):
            check_feeds([{"input_ids": mask, "attention_mask": mask}] * 8)

    @pytest.mark.parametrize("scale", [0.0, np.nan, np.inf])
    def test_a_scale_that_is_zero_or_not_a_number_by_its_name(self, made, tmp_path, scale):
        master = onnx.load(made["max"] / "int8.onnx")
        name = next(iter(qdq.activations(master)))
        broken = qdq.rescaled(master, {**qdq.activations(master), name: scale})
        with pytest.raises(ArtefactError, match=rf"scale of {name}\w* is zero or not a number"):
            write(tmp_path, broken)
        assert not list(tmp_path.iterdir())

    def test_a_graph_in_which_nothing_was_quantised(self, graph, tmp_path):
        with pytest.raises(ArtefactError, match="no linear layer is quantised"):
            write(tmp_path, onnx.load(graph))

    ROWS = np.random.default_rng(0).normal(size=(50, 4))

    @pytest.mark.parametrize(
        ("expected", "got", "said"),
        [
            (ROWS, np.where(ROWS > 2, np.nan, ROWS), "scores holds infinities or NaN"),
            (ROWS, np.ones((50, 4)) + 1e-6 * ROWS, "int8 answers nearly the same scores to everything"),
            (np.ones((50, 1)), np.ones((50, 1)), "the original answers nearly the same scores"),
            (ROWS, ROWS[::-1], r"cosine to the original is \{'scores': .*below 0.9; keep the worst layers"),
            (100 + ROWS, 100 + ROWS[::-1], "cosine to the original"),
        ],
    )
    def test_outputs_that_are_broken_constant_or_far(self, expected, got, said):
        with pytest.raises(ArtefactError, match=said):
            hold("int8", {"scores": expected}, {"scores": got}, 0.9)

    def test_but_not_outputs_that_are_near(self):
        assert hold("int8", {"scores": self.ROWS}, {"scores": self.ROWS * 1.01}, 0.9)["scores"] == pytest.approx(1)


def test_a_percentile_of_a_tensor_is_that_of_all_its_values():
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 18]> g (float[n, 5] x) => (float[n, 5] y) { h = Mul (x, two) y = Abs (h) }'
    )
    model.graph.initializer.append(numpy_helper.from_array(np.float32(2), "two"))
    values = np.random.default_rng(0).normal(size=(3, 400, 5)).astype(np.float32)
    wanted = (50, 99, 100)
    made = percentiles(model, ["h"], [{"x": part} for part in values], wanted)
    for percentile, found in zip(wanted, made, strict=True):
        assert found["h"] == pytest.approx(np.percentile(np.abs(2 * values), percentile), rel=5e-3)


class TestRanker:
    @pytest.fixture
    def folder(self, tmp_path):
        torch.manual_seed(1)
        Ranker(1 / 127).save(tmp_path)
        export_ranker(tmp_path, trained=tmp_path)
        (tmp_path / "model.onnx").rename(tmp_path / "fp32.onnx")
        return tmp_path

    @staticmethod
    def feeds(count: int = 100):
        chance = torch.Generator().manual_seed(0)
        for _ in range(count):
            query, stored = (
                torch.randn(1, 3, TOKEN_WIDTH, generator=chance),
                torch.randn(1, CANDIDATES, 4, TOKEN_WIDTH, generator=chance),
            )
            yield {
                "token_vectors": 2 * nn.functional.normalize(query, dim=-1).numpy(),
                "candidate_tokens": (127 * nn.functional.normalize(stored, dim=-1)).to(torch.int8).numpy(),
                "candidate_lengths": torch.randint(1, 5, (1, CANDIDATES), generator=chance, dtype=torch.int32).numpy(),
                "candidate_cosines": torch.rand(1, CANDIDATES, CANDIDATES, generator=chance).numpy(),
                "signals": torch.rand(1, CANDIDATES, len(SIGNALS), generator=chance).numpy(),
            }

    def test_multiplies_stored_and_query_vectors_in_int8(self, folder):
        given = list(self.feeds())
        quantise_ranker(folder, graph=folder / "fp32.onnx", feeds=given)
        (scale,) = qdq.activations(onnx.load(folder / "int8.onnx")).values()
        most = max(np.abs(one["token_vectors"]).max() for one in given) / 2
        assert scale == pytest.approx(most / 127, rel=1e-3)
        assert (folder / "model.onnx").read_bytes() == (folder / "fp32.onnx").read_bytes()
        found = outputs(session(folder / "int8.onnx"), given[:5])["scores"]
        expected = outputs(session(folder / "fp32.onnx"), given[:5])["scores"]
        assert 0 < np.abs(found - expected).max() < 0.05

    def test_is_refused_too_few_candidates(self, folder):
        given = list(self.feeds(3))
        for feed in given:
            feed["candidate_lengths"][:, 10:] = 0
        with pytest.raises(DataError, match=r"too small \(30 rows\)"):
            quantise_ranker(folder, graph=folder / "fp32.onnx", feeds=given)
