"""What a search must do: multiply-adds and bytes of each step, counted on the graphs and the index that are served.

Counted are products of matrices. What a graph does element by element is not: it is little arithmetic, though not
always little time, which is what the achieved fraction shows. Bytes are those that must be touched once, however good
the caches: weights, rows gathered, inputs and outputs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from shelfbridge.retrieval import Candidates

Feed = Mapping[str, NDArray[Any]]
_PRODUCTS = ("MatMul", "Gemm")
_CARRIERS = ("DequantizeLinear", "QuantizeLinear", "Transpose", "Cast", "Identity")
"""Operators between a stored weight and the product that reads it."""


Cost = dict[str, int]
"""Multiply-adds by arithmetic ("fp32", "int8"), and "bytes"."""


class GraphCosts:
    """Counts what an ONNX graph does with given inputs. Shapes come from running it, so any graph can be counted."""

    def __init__(self, path: Path) -> None:
        model = onnx.load(path)
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._products = [node for node in model.graph.node if node.op_type in _PRODUCTS]
        self._outputs = [output.name for output in model.graph.output]
        self._weights = sum(
            numpy_helper.to_array(self._stored[name]).nbytes
            for name in {self._source(name) for node in self._products for name in node.input[:2]} & self._stored.keys()
        )
        self._gathers = [n for n in model.graph.node if n.op_type == "Gather" and self._source(n.input[0])]
        self._session = self._open(model)

    def _open(self, model: onnx.ModelProto) -> onnxruntime.InferenceSession:
        """A session that also gives the tensors whose shapes are wanted."""
        wanted = {name for node in self._products for name in node.input[:2]} | {n.output[0] for n in self._gathers}
        known = {*self._outputs, *self._stored, *(one.name for one in model.graph.input)}
        kinds = {one.name: one.type for one in onnx.shape_inference.infer_shapes(model).graph.value_info}
        for name in sorted(wanted - known):
            kind = kinds[name].tensor_type.elem_type if name in kinds else TensorProto.FLOAT
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def of(self, feed: Feed) -> Cost:
        """What one run with these inputs costs."""
        names = [output.name for output in self._session.get_outputs()]
        arrays = dict(zip(names, self._session.run(None, dict(feed)), strict=True)) | dict(feed)
        counted: Cost = {"fp32": 0, "int8": 0}
        for node in self._products:
            left = self._shape(node.input[0], arrays)
            right = self._shape(node.input[1], arrays)
            counted["int8" if self._quantised(node) else "fp32"] += multiply_adds(node, left, right)
        moved = sum(array.nbytes for array in feed.values()) + sum(arrays[name].nbytes for name in self._outputs)
        # A row gathered has the width of its table
        moved += sum(arrays[gather.output[0]].nbytes for gather in self._gathers)
        return counted | {"bytes": self._weights + moved}

    def _shape(self, name: str, arrays: Feed) -> tuple[int, ...]:
        return tuple(self._stored[name].dims) if name in self._stored else arrays[name].shape

    def _quantised(self, node: onnx.NodeProto) -> bool:
        """Whether both sides are dequantised just before: onnxruntime then multiplies integers."""
        makers = [self._makers.get(name) for name in node.input[:2]]
        return all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)

    def _source(self, name: str) -> str:
        """The stored tensor that a tensor is read from, or "" where it is computed."""
        while name not in self._stored:
            maker = self._makers.get(name)
            if maker is None or maker.op_type not in _CARRIERS:
                return ""
            name = maker.input[0]
        return name


def multiply_adds(node: onnx.NodeProto, left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """Multiply-adds of a MatMul or Gemm of these shapes."""
    flags = {one.name: one.i for one in node.attribute}
    inner = left[0] if flags.get("transA") else left[-1]
    outer = right[0] if flags.get("transB") else right[-1] if len(right) > 1 else 1
    rows = left[-1] if flags.get("transA") else left[-2] if len(left) > 1 else 1
    batch = int(np.prod(np.broadcast_shapes(left[:-2], right[:-2]), dtype=np.int64))
    return batch * rows * inner * outer


def retrieval(products: int, width: int, found: Candidates) -> Cost:
    """Cost of finding candidates: an exact scan of the fp32 vectors, and what is fetched and multiplied of the found.

    An approximate index scans less, so its achieved fraction looks better than it is. The lexical side adds, and does
    not multiply: it is not counted.
    """
    candidates = len(found.rows)
    scanned = products * width
    own = candidates * width + candidates * candidates * width
    given = sum(array.nbytes for array in vars(found).values() if isinstance(array, np.ndarray))
    return {"fp32": scanned + own, "int8": 0, "bytes": 4 * (scanned + candidates * width) + 2 * given}


def mean(costs: Sequence[Cost]) -> Cost:
    """Mean over some searches."""
    return {kind: round(sum(one[kind] for one in costs) / len(costs)) for kind in costs[0]}
