"""One set of scales, several graphs: what changes between them, and what does not."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from quantised import feeds, write_encoder
from rich.console import Console

from build.compression import qdq
from build.compression.quantise import calibrated
from shelfbridge.errors import ArtefactError


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def reference(graph):
    return onnx.load(graph)


@pytest.fixture(scope="module")
def master(graph):
    return calibrated(graph, feeds(), "max", Console(quiet=True))


def run(model, feed, *, optimised: bool = False):
    options = onnxruntime.SessionOptions()
    # A CPU without VNNI adds pairs of products in int16, which overflow; so told it takes its exact kernels
    options.add_session_config_entry("session.x64quantprecision", "1")
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(feed))


def kinds(model) -> list[str]:
    return [node.op_type for node in model.graph.node]


class TestMaster:
    def test_weights_are_int8_and_near_the_originals(self, master, reference):
        before = {node.name: node.input[1] for node in reference.graph.node if len(node.input) > 1}
        original = {one.name: numpy_helper.to_array(one) for one in reference.graph.initializer}
        tensors = {one.name: numpy_helper.to_array(one) for one in master.graph.initializer}
        tensors |= {
            node.output[0]: numpy_helper.to_array(node.attribute[0].t)
            for node in master.graph.node
            if node.op_type == "Constant"
        }
        maker = {node.output[0]: node for node in master.graph.node}
        names = qdq.linears(master)
        layers = [node for node in master.graph.node if node.name in names]
        assert len(layers) == 7
        for layer in layers:
            whole, scale = (tensors[name] for name in maker[layer.input[1]].input)
            weight = original[before[layer.name]]
            assert whole.dtype == np.int8
            assert scale.shape == (weight.shape[1],)
            assert np.abs(whole * scale - weight).max() <= scale.max() * 0.5001
            assert np.abs(whole).max() >= 126

    def test_holds_each_quantised_weight_once(self, master, reference):
        kept = {one.name for one in master.graph.initializer}
        layers = qdq.linears(master)
        for node in reference.graph.node:
            if node.name in layers:
                assert node.input[1] not in kept

    def test_only_linear_layers_read_what_was_quantised(self, master):
        maker = {output: node.op_type for node in master.graph.node for output in node.output}
        layers = qdq.linears(master)
        for node in master.graph.node:
            if node.name not in layers:
                assert "DequantizeLinear" not in [maker.get(name) for name in node.input]

    def test_keeps_the_declared_inputs_and_outputs(self, master, reference):
        for made in (master, qdq.cpu_form(master)):
            assert list(made.graph.input) == list(reference.graph.input)
            assert list(made.graph.output) == list(reference.graph.output)


class TestCpuForm:
    def test_is_bit_identical_without_graph_optimisation(self, master):
        for feed in feeds(seed=1):
            for one, other in zip(run(master, feed), run(qdq.cpu_form(master), feed), strict=True):
                np.testing.assert_array_equal(one, other)

    def test_is_near_with_graph_optimisation(self, master):
        for feed in feeds(2, seed=1):
            for one, other in zip(run(master, feed), run(qdq.cpu_form(master), feed, optimised=True), strict=True):
                np.testing.assert_allclose(one, other, atol=0.05)

    def test_clips_where_the_master_does(self):
        body = "q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)"
        model = onnx.parser.parse_model(
            f'<ir_version: 9, opset_import: ["": 19]> g (float[n] x) => (float[n] y) {{ {body} }}'
        )
        model.graph.initializer.extend(
            [numpy_helper.from_array(np.float32(0.5), "s"), numpy_helper.from_array(np.int8(0), "z")]
        )
        values = np.array([-1000, -64, -63.75, -0.25, 0, 0.25, 0.75, 63.5, 1000], np.float32)
        (one,), (other,) = (ReferenceEvaluator(form).run(None, {"x": values}) for form in (model, qdq.cpu_form(model)))
        np.testing.assert_array_equal(one, other)
        assert one.min() == -64
        assert one.max() == 63.5


class TestKeepFloat:
    def test_all_layers_kept_are_the_original(self, master, reference):
        kept = qdq.keep_float(master, reference, qdq.linears(master))
        assert not {"QuantizeLinear", "DequantizeLinear"} & set(kinds(kept))
        for one, other in zip(run(kept, feeds()[0]), run(reference, feeds()[0]), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_one_layer_kept_leaves_the_others(self, master, reference):
        first, *others = qdq.linears(master)
        assert qdq.linears(qdq.keep_float(master, reference, [first])) == others
        assert qdq.linears(qdq.only(master, reference, first)) == [first]

    def test_an_activation_that_others_read_stays_quantised(self, master, reference):
        query = next(name for name in qdq.linears(master) if "query" in name)
        assert kinds(qdq.keep_float(master, reference, [query])).count("QuantizeLinear") == kinds(master).count(
            "QuantizeLinear"
        )

    def test_an_unknown_layer_is_named(self, master, reference):
        with pytest.raises(ArtefactError, match="no quantised layer nonsense; there are /"):
            qdq.keep_float(master, reference, ["nonsense"])


def test_other_scales_take_the_place_of_the_calibrated_ones(master):
    doubled = {name: 2 * scale for name, scale in qdq.activations(master).items()}
    assert qdq.activations(qdq.rescaled(master, doubled)) == pytest.approx(doubled)
    assert qdq.activations(qdq.cpu_form(master)) == pytest.approx(qdq.activations(master))


def test_a_graph_without_stored_vectors_is_refused(reference):
    with pytest.raises(ArtefactError, match="0 products with stored int8 vectors"):
        qdq.stored_product(reference)


def test_work_is_counted_over_the_linear_layers(reference):
    """Of width 32: four layers of 32 x 32, two of 32 x 64, and the projection of token vectors."""
    sizes = [(32, 32)] * 4 + [(32, 64), (64, 32), (32, 64)]
    expected = sum(rows * columns for rows, columns in sizes) / sum(map(sum, sizes))
    assert qdq.work_per_value(reference) == pytest.approx(expected)
