"""Mixed precision where a plain cast breaks."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from quantised import feeds, write_encoder

from build.compression.fidelity import outputs, session
from build.compression.fp16 import halve
from build.engines.operators import check_graph
from shelfbridge.errors import DataError

BODY = """
    h = MatMul (x, w)
    l = Mul (h, large)
    s = Mul (l, l)
    t = ReduceSum (s, axes)
    n = Sqrt (t)
    u = Div (l, n)
    v = MatMul (u, w)
    y = Tanh (v)
"""
"""A weight of 1e6, activations of as much, and their squares; the end is of order 1."""


def model(kind: type[np.floating]) -> onnx.ModelProto:
    name = {np.float32: "float", np.float16: "float16"}[kind]
    made = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["": 18]> g ({name}[n, 16] x) => ({name}[n, 16] y) {{ {BODY} }}'
    )
    weights = np.random.default_rng(0).normal(size=(16, 16)) / 4
    with np.errstate(over="ignore"):
        tensors = {"w": weights.astype(kind), "large": np.array(1e6).astype(kind), "axes": np.array([1])}
    made.graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in tensors.items())
    for node in made.graph.node:
        node.name = f"{node.op_type}_{node.output[0]}"
    return made


@pytest.fixture
def graph(tmp_path):
    onnx.save(model(np.float32), tmp_path / "fp32.onnx")
    return tmp_path / "fp32.onnx"


ROWS = [{"x": np.random.default_rng(seed).normal(size=(32, 16)).astype(np.float32)} for seed in range(5)]


class TestOverflow:
    def test_a_plain_cast_is_not_a_number(self):
        with np.errstate(all="ignore"):
            (got,) = ReferenceEvaluator(model(np.float16)).run(None, {"x": ROWS[0]["x"].astype(np.float16)})
        assert not np.isfinite(got).any()

    def test_ours_is_finite_and_close_on_rows_it_has_not_seen(self, graph, tmp_path):
        near = halve(tmp_path, graph=graph, feeds=ROWS[:4])
        assert near["y"] > 0.999
        got = outputs(session(tmp_path / "fp16.onnx"), ROWS[4:])["y"]
        expected = outputs(session(graph), ROWS[4:])["y"]
        assert np.isfinite(got).all()
        np.testing.assert_allclose(got, expected, atol=5e-3)

    def test_what_fits_is_in_fp16_and_what_does_not_in_fp32(self, graph, tmp_path):
        halve(tmp_path, graph=graph, feeds=ROWS)
        made = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "fp16.onnx"))
        types = {one.name: one.type.tensor_type.elem_type for one in made.graph.value_info}
        by_name = {node.name: types.get(node.output[0]) for node in made.graph.node}
        assert by_name["MatMul_h"] == by_name["MatMul_v"] == TensorProto.FLOAT16
        assert by_name["Mul_l"] == by_name["Mul_s"] == TensorProto.FLOAT


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    halve(folder, graph=write_encoder(folder), feeds=feeds())
    return folder


class TestTransformer:
    def test_its_linear_layers_and_embeddings_are_in_fp16(self, folder):
        made = onnx.load(folder / "fp16.onnx")
        types = {one.name: one.data_type for one in made.graph.initializer}
        weights = [name for node in made.graph.node if node.op_type in ("MatMul", "Gather") for name in node.input]
        found = [types[name] for name in weights if types.get(name) in (TensorProto.FLOAT, TensorProto.FLOAT16)]
        assert len(found) > 5
        assert set(found) == {TensorProto.FLOAT16}

    def test_keeps_its_inputs_and_outputs(self, folder):
        made, reference = onnx.load(folder / "fp16.onnx"), onnx.load(folder / "fp32.onnx")
        assert list(made.graph.input) == list(reference.graph.input)
        assert list(made.graph.output) == list(reference.graph.output)

    def test_is_what_tensorrt_parses_and_takes_other_lengths(self, folder):
        check_graph(folder / "fp16.onnx")
        (held,) = feeds(1, batch=2, seed=3)
        longer = {name: np.tile(value, (1, 5)) for name, value in held.items()}
        for one, other in zip(
            *(outputs(session(folder / name), [longer]).values() for name in ("fp16.onnx", "fp32.onnx")), strict=True
        ):
            np.testing.assert_allclose(one, other, atol=1e-2)


def test_is_refused_too_few_rows(graph, tmp_path):
    with pytest.raises(DataError, match=r"too small \(32 rows\)"):
        halve(tmp_path, graph=graph, feeds=ROWS[:1])
