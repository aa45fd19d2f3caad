"""A session's int8 is exact on every CPU, and what is measured is opened as what is served."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from build.compression.fidelity import session
from shelfbridge.errors import ArtefactError
from shelfbridge.graph import open_session, options, saturates

LAYER = """<ir_version: 9, opset_import: ["": 18]> g (float[n, 64] x) => (float[n, 64] y) {
    whole = QuantizeLinear (x, step, zero)
    near = DequantizeLinear (whole, step, zero)
    weights = DequantizeLinear (kept, step)
    y = MatMul (near, weights)
}"""


@pytest.fixture(scope="module")
def layer(tmp_path_factory):
    """A linear layer in the CPU's int8 form, whose products two by two are beyond 16 bits."""
    path = tmp_path_factory.mktemp("layer") / "model.onnx"
    model = onnx.parser.parse_model(LAYER)
    kept = np.full((64, 64), 127, np.int8)
    tensors = {"step": np.float32(1), "zero": np.uint8(128), "kept": kept}
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items())
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    "opened",
    [
        open_session,
        session,
        lambda path: open_session(path.read_bytes()),
        lambda path: open_session(path, options({"parameters": {}})),
    ],
    ids=["offline", "compression", "bytes", "served"],
)
def test_int8_is_exact(layer, opened):
    """A plain session answers 8,160 for 1,032,256 on a CPU that has AVX2 and no VNNI."""
    rows = np.full((16, 64), 127, np.float32)
    (found,) = opened(layer).run(None, {"x": rows})
    np.testing.assert_array_equal(found, np.full((16, 64), 127 * 127 * 64, np.float32))


@pytest.mark.parametrize(
    ("machine", "flags", "wanted"),
    [
        ("x86_64", "fma avx2", True),
        ("x86_64", "avx2 avx512f avx512bw", True),
        ("x86_64", "avx2 avx512bw avx512_vnni", False),
        ("AMD64", "avx2 avx_vnni", False),
        ("x86_64", None, True),
        ("aarch64", "asimd asimddp", False),
    ],
)
def test_a_cpu_is_known_by_its_flags(tmp_path, machine, flags, wanted):
    file = tmp_path / "cpuinfo"
    if flags is not None:
        file.write_text(f"model name\t: a CPU\nflags\t\t: {flags}\nbugs\t\t: none\n")
    assert saturates(machine, file) == wanted


def test_what_is_no_graph_is_said():
    with pytest.raises(ArtefactError, match="a graph cannot be read as an ONNX model"):
        open_session(b"no graph")
