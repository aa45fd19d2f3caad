"""Graphs that TensorRT's parser would refuse are refused here, node by node."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from build.engines import api
from build.engines.builder import Network
from build.engines.operators import check_graph, table, table_faults
from shelfbridge.errors import ArtefactError

RTX = api.tensorrt_rtx()


@pytest.fixture(
    params=[
        "the table alone",
        pytest.param("NVIDIA too", marks=pytest.mark.skipif(RTX is None, reason="no TensorRT-RTX (make rtx)")),
    ]
)
def refusal(tmp_path, request):
    """What the table says of a graph written in ONNX's text form; NVIDIA's parser must say the same.

    It may be `stricter`: TensorRT-RTX takes some of what the documentation of TensorRT's parser excludes. The other way
    round the table would let through what fails on a GPU.
    """

    def said(
        body: str,
        *,
        takes: str = "float[n, 3] x",
        gives: str = "float[n, 3] y",
        opset: int = 18,
        stricter: bool = False,
        **tensors,
    ) -> str:
        opsets = f'"": {opset}' + (', "com.microsoft": 1' if "com.microsoft" in body else "")
        model = onnx.parser.parse_model(
            f"<ir_version: 9, opset_import: [{opsets}]> g ({takes}) => ({gives}) {{ {body} }}"
        )
        model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
        onnx.save(model, tmp_path / "graph.onnx")
        refused = table_faults(tmp_path / "graph.onnx")
        if request.param == "NVIDIA too":
            assert parses(tmp_path / "graph.onnx") == (refused is None or stricter)
        return refused or ""

    return said


def parses(graph) -> bool:
    try:
        return Network.parsed(RTX, graph).definition.num_layers > 0
    except ArtefactError:
        return False


ONE = np.array([0.5], np.float32)


class TestPasses:
    def test_a_graph_of_plain_operators(self, refusal):
        assert refusal("h = MatMul (x, w) y = Relu (h)", w=np.eye(3, dtype=np.float32)) == ""

    def test_indices_conditions_and_shapes_whose_types_are_not_the_data_s(self, refusal):
        body = "s = Shape (x) c = Greater (x, w) z = Where (c, x, w) g = Gather (z, i) y = Expand (g, s)"
        assert refusal(body, w=ONE, i=np.array([0, 1, 2])) == ""

    def test_an_explicit_pair_with_zero_point_0(self, refusal):
        body = "q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)"
        assert refusal(body, s=np.float32(0.5), z=np.int8(0)) == ""

    def test_stored_int8_that_is_dequantised(self, refusal):
        assert refusal("y = DequantizeLinear (x, s)", takes="int8[n, 3] x", s=np.float32(0.5)) == ""


class TestRefuses:
    def test_operators_of_one_runtime_by_domain_and_node(self, refusal):
        said = refusal("y = com.microsoft.FastGelu (x)")
        assert "operators of com.microsoft (FastGelu 'y')" in said
        assert "not as a runtime optimised it" in said

    def test_an_operator_that_is_not_supported(self, refusal):
        assert "Det 'y' is not supported" in refusal("y = Det (x)", takes="float[n, 3, 3] x")

    def test_every_offender_in_one_message(self, refusal):
        said = refusal("d = Bernoulli (x) e = Bernoulli (d) y = Relu (e)")
        assert "Bernoulli 'd'" in said
        assert "Bernoulli 'e'" in said
        assert "Relu" not in said

    def test_an_operator_whose_restrictions_are_not_checked(self, refusal):
        assert "Dropout 'y' has restrictions" in refusal("y = Dropout (x)", stricter=True)

    def test_a_cast_from_int8(self, refusal):
        assert "Cast 'y' takes no INT8 ('x')" in refusal("y = Cast <to = 1> (x)", takes="int8[n, 3] x", stricter=True)

    def test_double_precision(self, refusal):
        assert "Relu 'y' takes no FP64" in refusal(
            "y = Relu (x)", takes="double[n, 3] x", gives="double y", stricter=True
        )

    def test_uint8_within_the_graph_but_not_at_its_ends(self, refusal):
        assert "has UINT8 'u'" in refusal("u = Cast <to = 2> (x) y = Cast <to = 1> (u)")
        assert refusal("y = Cast <to = 1> (x)", takes="uint8[n, 3] x") == ""

    def test_activations_in_uint8(self, refusal):
        body = "q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)"
        said = refusal(body, s=np.float32(0.5), z=np.uint8(128))
        assert "between a floating-point number and INT8" in said
        assert "must have zero-point 0 ('z')" in said

    def test_a_zero_point_other_than_0(self, refusal):
        body = "q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)"
        assert "must have zero-point 0 ('z')" in refusal(body, s=np.float32(0.5), z=np.int8(3))

    @pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
    def test_a_scale_that_is_not_finite_and_above_zero(self, refusal, scale):
        body = "q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)"
        assert "finite scales above zero ('s')" in refusal(
            body, s=np.float32(scale), z=np.int8(0), stricter=scale == np.inf
        )

    def test_a_scale_that_is_computed(self, refusal):
        body = "q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)"
        said = refusal(body, takes="float[n, 3] x, float s", stricter=True, z=np.int8(0))
        assert "must have a constant as its input 1 ('s')" in said

    def test_axes_that_are_computed(self, refusal):
        said = refusal("y = ReduceSum (x, a)", takes="float[n, 3] x, int64[1] a", gives="float y")
        assert "must have a constant as its input 1 ('a')" in said
        assert refusal("y = ReduceSum (x, a)", gives="float y", a=np.array([1])) == ""

    def test_the_best_k_unsorted_or_of_too_many(self, refusal):
        body = "y, i = TopK <sorted = {}> (x, k)"
        ends = {"takes": "float[n, 5000] x", "gives": "float[n, k] y"}
        assert refusal(body.format(1), **ends, k=np.array([3839])) == ""
        assert "TopK 'y' must have sorted 1" in refusal(body.format(0), **ends, stricter=True, k=np.array([3]))
        assert "below 3840" in refusal(body.format(1), **ends, stricter=True, k=np.array([3840]))

    def test_further_outputs_of_a_normalisation(self, refusal):
        body = "y, m = LayerNormalization (x, w)"
        assert "may not give its further outputs" in refusal(
            body, gives="float[n, 3] y, float[n, 1] m", w=np.ones(3, np.float32)
        )

    def test_an_opset_that_is_too_old_or_too_new(self, refusal):
        assert "its opset is 8" in refusal("y = Relu (x)", opset=8, stricter=True)
        assert "its opset is 25" in refusal("y = Relu (x)", opset=25, stricter=True)

    def test_what_is_no_graph(self, tmp_path):
        (tmp_path / "graph.onnx").write_bytes(b"not a graph")
        with pytest.raises(ArtefactError, match="is not a whole ONNX graph"):
            check_graph(tmp_path / "graph.onnx")
        with pytest.raises(ArtefactError, match="is not a whole ONNX graph"):
            check_graph(tmp_path / "absent.onnx")


def test_the_table_names_each_operator_once_and_restricts_only_supported_ones():
    facts = table()
    supported, refused = set(facts["types"]), {*facts["unsupported"], *facts["unchecked"]}
    assert not supported & refused
    beside_onnx = {"ImageScaler", "ParametricSoftplus", "ScaledTanh"}  # the parser's own
    assert supported | refused <= {schema.name for schema in onnx.defs.get_all_schemas_with_history()} | beside_onnx
    assert {
        name for rule in ("constant", "attributes", "forbidden", "outputs", "below") for name in facts[rule]
    } <= supported
