"""A session is opened from a file or from a graph's content, and says what it cannot read."""

import numpy as np
import onnx
import pytest

from build.compression.fidelity import session
from shelfbridge.errors import ArtefactError
from shelfbridge.graph import open_session

DOUBLED = """<ir_version: 9, opset_import: ["": 18]> g (float[n] x) => (float[n] y) { y = Add (x, x) }"""


def test_a_graph_is_opened_from_its_file_or_its_content(tmp_path):
    model = onnx.parser.parse_model(DOUBLED)
    onnx.save(model, tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    for opened in (open_session(tmp_path / "model.onnx"), open_session(content), session(model)):
        np.testing.assert_array_equal(opened.run(None, {"x": np.float32([1, 2])})[0], [2, 4])


def test_what_is_no_graph_is_said(tmp_path):
    with pytest.raises(ArtefactError, match="a graph cannot be read as an ONNX model"):
        open_session(b"no graph")
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ArtefactError, match=r"model\.onnx cannot be read as an ONNX model"):
        open_session(tmp_path / "model.onnx")
    with pytest.raises(ArtefactError, match=r"none\.onnx is missing"):
        open_session(tmp_path / "none.onnx")
