"""Surgery on graphs with explicit QuantizeLinear/DequantizeLinear (Q/DQ) pairs: one set of scales, several forms.

The master is what TensorRT parses: int8 weights as initialisers with a scale per output channel, activations per
tensor, every zero-point 0. ONNX Runtime's VNNI kernels want activations as uint8 with zero-point 128: the same real
numbers, so that what is measured of one form is true of the other.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import ModelProto

from shelfbridge.errors import ArtefactError

LINEAR = ("MatMul", "Gemm")
QUANTISATION = ("QuantizeLinear", "DequantizeLinear")


def fold(placed: ModelProto, reference: ModelProto) -> ModelProto:
    """The master from a graph in which Q/DQ pairs were placed.

    Weights that are quantised at run time become int8 initialisers. Only linear layers read what was quantised: a
    residual sum that reads the same tensor gets it in floating point.

    Args:
        placed: weights as fp32 -> QuantizeLinear -> DequantizeLinear.
        reference: the graph before quantisation, whose declared inputs and outputs are kept.
    """
    graph = gs.import_onnx(placed)
    for node in graph.nodes:
        if node.op == "QuantizeLinear" and isinstance(node.inputs[0], gs.Constant):
            weight, scale = node.inputs[0].values, node.inputs[1].values
            whole = gs.Constant(f"{node.inputs[0].name}_int8", _whole(weight, scale, node.attrs.get("axis", 1)))
            for reader in list(node.outputs[0].outputs):
                reader.inputs = [whole, reader.inputs[1]]
    for node in graph.nodes:
        if node.op not in QUANTISATION and not _quantised(node):
            for place, tensor in enumerate(node.inputs):
                if tensor.inputs and tensor.inputs[0].op == "DequantizeLinear" and tensor.inputs[0].inputs[0].inputs:
                    node.inputs[place] = node.i(place).i(0).inputs[0]
    return _exported(graph, placed, reference)


def _whole(weight: NDArray[Any], scale: NDArray[Any], axis: int) -> NDArray[np.int8]:
    """Rounded to even and clipped, as QuantizeLinear does."""
    shape = [-1 if place == axis % weight.ndim else 1 for place in range(weight.ndim)]
    whole: NDArray[np.int8] = np.clip(np.rint(weight / scale.reshape(shape if scale.ndim else ())), -128, 127).astype(
        np.int8
    )
    return whole


def cpu_form(master: ModelProto) -> ModelProto:
    """The master with the activations as uint8, zero-point 128: the same scales, the same real numbers."""
    graph = gs.import_onnx(master)
    for node in graph.nodes:
        if node.op == "QuantizeLinear":
            zero = gs.Constant(f"{node.name}_zero_point", np.array(128, np.uint8))
            node.outputs[0].dtype = np.uint8
            for one in (node, *node.outputs[0].outputs):
                one.inputs = [*one.inputs[:2], zero]
    return _exported(graph, master, master)


def linears(master: ModelProto) -> list[str]:
    """Names of the quantised linear layers, in the graph's order."""
    return [node.name for node in gs.import_onnx(master).nodes if _quantised(node)]


def keep_float(master: ModelProto, reference: ModelProto, names: Collection[str]) -> ModelProto:
    """The master with some linear layers in floating point again, with the weights of the reference.

    Raises:
        ArtefactError: the master has no quantised layer of such a name.
    """
    graph = gs.import_onnx(master)
    layers = {node.name: node for node in graph.nodes if _quantised(node)}
    if unknown := sorted(set(names) - set(layers)):
        raise ArtefactError(f"no quantised layer {', '.join(unknown)}; there are {', '.join(layers)}")
    weights = {node.name: node.inputs[1] for node in gs.import_onnx(reference).nodes if node.op in LINEAR}
    for name in names:
        node = layers[name]
        node.inputs[0] = node.i(0).i(0).inputs[0]
        node.inputs[1] = gs.Constant(weights[name].name, weights[name].values)
    return _exported(graph, master, reference)


def only(master: ModelProto, reference: ModelProto, name: str) -> ModelProto:
    """The reference with one linear layer quantised as in the master."""
    return keep_float(master, reference, [other for other in linears(master) if other != name])


def activations(master: ModelProto) -> dict[str, float]:
    """Scale of each quantised activation, by the name of the tensor."""
    nodes = gs.import_onnx(master).nodes
    return {node.inputs[0].name: float(node.inputs[1].values) for node in nodes if node.op == "QuantizeLinear"}


def rescaled(master: ModelProto, scales: Mapping[str, float]) -> ModelProto:
    """The master with other scales of its activations, by the name of the tensor."""
    graph = gs.import_onnx(master)
    for node in graph.nodes:
        if node.op == "QuantizeLinear":
            name = node.inputs[0].name
            scale = gs.Constant(f"{name}_scale_set", np.array(scales[name], np.float32))
            for one in (node, *node.outputs[0].outputs):
                one.inputs[1] = scale
    return _exported(graph, master, master)


def stored_product(reference: ModelProto) -> str:
    """Name of the tensor that is multiplied with stored int8 vectors.

    Raises:
        ArtefactError: there is not exactly one such product.
    """
    return str(_stored_product(gs.import_onnx(reference)).inputs[1].name)


def _stored_product(graph: gs.Graph) -> gs.Node:
    products = [
        node
        for node in graph.nodes
        if node.op == "MatMul" and node.inputs[0].inputs and node.i(0).op == "DequantizeLinear"
    ]
    if len(products) != 1:
        raise ArtefactError(f"{len(products)} products with stored int8 vectors, not one; export the ranker again")
    return products[0]


def quantise_product(reference: ModelProto, scale: float) -> ModelProto:
    """A graph whose product with stored int8 vectors is done in int8: its other side gets a Q/DQ pair of this scale."""
    graph = gs.import_onnx(reference)
    product = _stored_product(graph)
    step, zero = (
        gs.Constant("queries_scale", np.array(scale, np.float32)),
        gs.Constant("queries_zero", np.array(0, np.int8)),
    )
    whole, near = gs.Variable("queries_int8", np.int8), gs.Variable("queries_near", np.float32)
    real, product.inputs[1] = product.inputs[1], near
    graph.nodes += [
        gs.Node("QuantizeLinear", "queries_QuantizeLinear", inputs=[real, step, zero], outputs=[whole]),
        gs.Node("DequantizeLinear", "queries_DequantizeLinear", inputs=[whole, step, zero], outputs=[near]),
    ]
    return _exported(graph, reference, reference)


def work_per_value(reference: ModelProto) -> float:
    """Return the multiply-adds of an fp32 graph's linear layers for each value that int8 would convert at their ends.

    A layer of weights [K, N] converts K values on its way in and N on its way out, for K * N multiply-adds.
    """
    weights = [node.inputs[1] for node in gs.import_onnx(reference).nodes if node.op in LINEAR]
    shapes = [one.values.shape[-2:] for one in weights if isinstance(one, gs.Constant)]
    return float(sum(rows * columns for rows, columns in shapes) / max(1, sum(map(sum, shapes))))


def scales(model: ModelProto) -> Iterator[tuple[str, NDArray[Any]]]:
    """Name of the node and scale of every Q/DQ."""
    for node in gs.import_onnx(model).nodes:
        if node.op in QUANTISATION:
            yield node.name, node.inputs[1].values


def _quantised(node: gs.Node) -> bool:
    if node.op not in LINEAR or not all(
        len(one.inputs) and one.inputs[0].op == "DequantizeLinear" for one in node.inputs[:2]
    ):
        return False
    return isinstance(node.i(1).inputs[0], gs.Constant)


def _exported(graph: gs.Graph, model: ModelProto, described: ModelProto) -> ModelProto:
    """The graph without what nothing reads, in order, with the inputs and outputs as another model declares them."""
    made: ModelProto = gs.export_onnx(graph.cleanup().toposort())
    made.ir_version = model.ir_version
    del made.graph.value_info[:]
    for own, other in ((made.graph.input, described.graph.input), (made.graph.output, described.graph.output)):
        del own[:]
        own.extend(other)
    onnx.checker.check_model(made)
    return made
