"""`python -m build.engines check` asks about every graph of a release, and ends with 1 where one is judged wrongly."""

import shutil

import numpy as np
import pytest

from build.engines import __main__ as program
from build.engines import api, operators
from shelfbridge.errors import ArtefactError
from tests.functional import tiny
from tests.unit.engine_samples import write_release

RTX = api.tensorrt_rtx()
ASYMMETRIC = tiny.ENCODER.replace(
    "embedding = LpNormalization <axis = -1, p = 2> (sum)",
    """whole = QuantizeLinear (sum, step, zero)
    near = DequantizeLinear (whole, step, zero)
    embedding = LpNormalization <axis = -1, p = 2> (near)""",
)
"""As the CPU's int8 files are."""


@pytest.fixture(
    params=[
        "the table alone",
        pytest.param("NVIDIA too", marks=pytest.mark.skipif(RTX is None, reason="no TensorRT-RTX (make rtx)")),
    ]
)
def by(request, monkeypatch):
    if request.param == "the table alone":
        monkeypatch.setattr(api, "tensorrt_rtx", lambda: None)
    return request.param


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("release")) / "releases/1"


@pytest.fixture
def release(written, tmp_path):
    return shutil.copytree(written, tmp_path / "1")


def write_asymmetric(file):
    file.unlink(missing_ok=True)  # a link
    dense, late = tiny.tables(50)
    tiny.write_model(file, ASYMMETRIC, dense=dense, late=late, step=np.float32(0.5), zero=np.uint8(128))


def test_every_master_is_asked_about(release, by, capsys):
    program.main(["check", str(release)])
    printed = capsys.readouterr().out
    for model in ("encoder", "ranker", "cross_encoder", "user_encoder", "shelf_ranker"):
        for master in ("fp32.onnx", "fp16.onnx", "int8.onnx"):
            (line,) = [line for line in printed.splitlines() if line.startswith(f"| {model}: {master} |")]
            assert line.endswith("| yes |")
            assert line.count("taken") == (1 if by == "the table alone" else 2)
    assert ("TensorRT-RTX is not installed (make rtx)" in printed) == (by == "the table alone")


def test_the_cpus_file_is_refused_and_that_is_as_it_should_be(release, by, capsys):
    write_asymmetric(release / "encoder/1/model.onnx")
    program.main(["check", str(release)])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| encoder: model.onnx |")]
    assert "refused" in line
    assert line.endswith("| yes |")


def test_a_master_that_is_refused_ends_it_with_the_reason(release, by, capsys):
    write_asymmetric(release / "encoder/1/int8.onnx")
    with pytest.raises(SystemExit, match=r"error: 1 of 15 graphs are not judged as they should be"):
        program.main(["check", str(release)])
    printed = capsys.readouterr().out
    assert "- encoder: int8.onnx: " in printed
    assert "zero-point 0" in printed


def test_a_file_alone_can_be_asked_about(release, by, capsys):
    program.main(["check", str(release / "ranker/1/fp16.onnx")])
    assert "| 1: fp16.onnx | taken |" in capsys.readouterr().out
    write_asymmetric(release / "encoder/1/int8.onnx")
    with pytest.raises(SystemExit, match=r"error: 1 of 1 graphs are not judged as they should be"):
        program.main(["check", str(release / "encoder/1/int8.onnx")])


def test_what_is_no_release_is_said(tmp_path, by):
    with pytest.raises(SystemExit, match="is not a release"):
        program.main(["check", str(tmp_path)])


@pytest.mark.skipif(RTX is None, reason="no TensorRT-RTX (make rtx)")
def test_a_build_asks_nvidia_where_the_table_has_nothing_to_say(tmp_path, monkeypatch):
    """The gate of every export and every compression."""
    file = tmp_path / "g.onnx"
    write_asymmetric(file)
    monkeypatch.setattr(operators, "table_faults", lambda path: None)
    with pytest.raises(ArtefactError, match="TensorRT's parser refuses"):
        operators.check_graph(file)
    monkeypatch.setattr(api, "tensorrt_rtx", lambda: None)
    operators.check_graph(file)
