"""Whether TensorRT's ONNX parser would take a graph: the check for machines that have no TensorRT.

Where TensorRT-RTX is installed (`make rtx`) its parser is asked as well, and both must take the graph.

The facts are in `operators.toml`: per operator the types that it takes, and its restrictions as far as they can be read
off a file. What cannot be checked (an operator with other restrictions, a type that cannot be inferred) is refused, so
that a graph which passes holds nothing unknown. Whether an engine builds and how fast it is, only TensorRT can tell.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper, shape_inference

from build.engines import api
from build.engines.builder import Network
from shelfbridge.errors import ArtefactError

TABLE = Path(__file__).with_name("operators.toml")
TYPES = {
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.DOUBLE: "FP64",
    TensorProto.FLOAT8E4M3FN: "FP8",
    TensorProto.FLOAT4E2M1: "FP4",
    TensorProto.INT4: "INT4",
}
"""The table's names where ONNX has others."""
STANDARD = ("", "ai.onnx")
QUANTISATION = ("QuantizeLinear", "DequantizeLinear")


@cache
def table() -> dict[str, Any]:
    """The parser's operators, types by operator under `types`."""
    facts = tomllib.loads(TABLE.read_text())
    facts["types"] = {name: set(group["types"]) for group in facts.pop("supported") for name in group["operators"]}
    return facts


def check_graph(path: Path) -> None:
    """Hold an un-optimised ONNX file against the parser's table, and against the parser itself where there is one.

    Raises:
        ArtefactError: the file cannot be read, or holds what the parser does not take; each such node is named.
    """
    refused = table_faults(path)
    if refused is not None:
        raise ArtefactError(refused)
    trt = api.tensorrt_rtx()
    if trt is not None:
        Network.parsed(trt, path)


def judges() -> str:
    """Return who is asked by `check_graph` on this machine, as records say it."""
    trt = api.tensorrt_rtx()
    return (
        "the table alone (make rtx adds NVIDIA's parser)"
        if trt is None
        else f"the table and TensorRT-RTX {trt.__version__}"
    )


def table_faults(path: Path) -> str | None:
    """Return what the table has against an ONNX file, None where there is nothing.

    Raises:
        ArtefactError: the file cannot be read.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        raise ArtefactError(f"{path} is not a whole ONNX graph ({error}); export it again") from error
    found = list(faults(model))
    if not found:
        return None
    return (
        f"{path.name} is not what TensorRT parses: {'; '.join(found)}. Change the model or its export so that "
        f"these do not arise ({table()['source']})"
    )


def faults(model: onnx.ModelProto) -> Iterator[str]:
    """A sentence on each thing that the parser would refuse."""
    domains = sorted({node.domain for node in model.graph.node} - set(STANDARD))
    if domains or model.functions:
        foreign = [_named(node) for node in model.graph.node if node.domain not in STANDARD]
        yield (
            f"it holds operators of {', '.join(domains) or 'its own functions'} ({', '.join(foreign)}): "
            "take the graph as exported, not as a runtime optimised it"
        )
        return
    (opset,) = (one.version for one in model.opset_import if one.domain in STANDARD)
    first, last = table()["opsets"]
    if not first <= opset <= last:
        yield f"its opset is {opset}, not {first} to {last}"
    graph = _Graph.of(model, opset)
    for node in model.graph.node:
        if reasons := list(graph.reasons(node)):
            yield f"{_named(node)} {', '.join(reasons)}"


def _named(node: NodeProto) -> str:
    return f"{node.op_type} {(node.name or node.output[0])!r}"


@dataclass(frozen=True)
class _Graph:
    """What a node is judged by: the opset, the type of each tensor, the values of the constant ones."""

    opset: int
    types: dict[str, str]
    values: dict[str, NDArray[Any]]
    ends: set[str] = field(default_factory=set)
    """Inputs and outputs of the graph, which alone may be UINT8."""

    @classmethod
    def of(cls, model: onnx.ModelProto, opset: int) -> "_Graph":
        graph = shape_inference.infer_shapes(model).graph
        described = [*graph.input, *graph.output, *graph.value_info]
        types = {one.name: one.type.tensor_type.elem_type for one in described}
        types |= {one.name: one.data_type for one in graph.initializer}
        values = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        names = {name: TYPES.get(kind, TensorProto.DataType.Name(kind)) for name, kind in types.items() if kind}
        return cls(opset, names, values, {one.name for one in (*graph.input, *graph.output)})

    def reasons(self, node: NodeProto) -> Iterator[str]:
        """Why the parser would refuse a node."""
        facts, kind = table(), node.op_type
        if kind not in facts["types"]:
            if kind in facts["unchecked"]:
                yield "has restrictions that are not checked here"
            else:
                yield "is not supported"
            return
        yield from self._quantisation(node) if kind in QUANTISATION else self._operands(node)
        given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        for name, wanted in facts["attributes"].get(kind, {}).items():
            value = given.get(name, wanted)
            if (value.decode() if isinstance(value, bytes) else value) != wanted:
                yield f"must have {name} {wanted}"
        yield from (f"may not have {name}" for name in facts["forbidden"].get(kind, ()) if name in given)
        if len([name for name in node.output if name]) > facts["outputs"].get(kind, len(node.output)):
            yield "may not give its further outputs"
        place = facts["constant"].get(kind)
        if place is not None and len(node.input) > place and node.input[place]:
            yield from self._constant(node, place)

    def _operands(self, node: NodeProto) -> Iterator[str]:
        """Types of the data: an operand that can be no floating-point number (an index, a condition) is exempt."""
        allowed, schema = table()["types"][node.op_type], onnx.defs.get_schema(node.op_type, self.opset)
        choices = {one.type_param_str: one.allowed_type_strs for one in schema.type_constraints}
        for names, formal in ((node.input, schema.inputs), (node.output, schema.outputs)):
            for place, name in enumerate(names):
                kind = formal[min(place, len(formal) - 1)].type_str
                if not name:
                    continue
                if name not in self.types:
                    yield f"has an operand {name!r} whose type cannot be inferred"
                elif self.types[name] == "UINT8" and name not in self.ends:
                    yield f"has UINT8 {name!r}, a type for inputs and outputs of the graph alone"
                elif "tensor(float)" in choices.get(kind, (kind,)) and self.types[name] not in allowed:
                    yield f"takes no {self.types[name]} ({name!r})"

    def _constant(self, node: NodeProto, place: int) -> Iterator[str]:
        value = self.values.get(node.input[place])
        if value is None:
            yield f"must have a constant as its input {place} ({node.input[place]!r})"
        elif node.op_type in table()["below"] and value.max() >= (most := table()["below"][node.op_type]):
            yield f"must have its input {place} below {most}"

    def _quantisation(self, node: NodeProto) -> Iterator[str]:
        real, whole = node.input[0], node.output[0]
        if node.op_type == "DequantizeLinear":
            real, whole = whole, real
        if self.types.get(real) not in table()["types"]["QuantizeLinear"] or self.types.get(whole) != "INT8":
            yield f"must stand between a floating-point number and INT8 ({real!r}, {whole!r})"
        scale = self.values.get(node.input[1])
        if scale is not None and not (np.isfinite(scale).all() and (scale > 0).all()):
            yield f"must have finite scales above zero ({node.input[1]!r})"
        if len(node.input) > 2 and node.input[2]:
            zero = self.values.get(node.input[2])
            if zero is None or zero.any():
                yield f"must have zero-point 0 ({node.input[2]!r})"
