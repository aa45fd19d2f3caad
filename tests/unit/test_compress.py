"""A network's forms: what is written, how calibration is chosen, and when layers stay in floating point."""

import io
import json

import numpy as np
import onnx
import pytest
from rich.console import Console

from build.compression import forms as module
from build.compression import qdq
from build.compression.fidelity import outputs, session
from build.compression.forms import compress
from build.engines.api import tensorrt_rtx
from build.settings import Compression
from shelfbridge.errors import ArtefactError
from tests.unit.quantised import feeds, write_encoder

QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    write_encoder(folder).rename(folder / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("feeds")
    (folder / "encoder").mkdir()
    for place, feed in enumerate(feeds(count=10)):
        np.savez(folder / f"encoder/{place:04}.npz", **feed)
    return folder


def run(folder, graph, batches, judge, **chosen):
    settings = Compression(**{"half": False, "methods": ("max", "percentile"), **chosen})
    compress(folder, network="encoder", graph=graph, feeds=batches, chosen=settings, judge=judge, console=QUIET)
    return json.loads((folder / "compression.json").read_text())


def judged(*figures: float):
    """A judge that gives the figures in turn: of fp32, then of each trial."""
    left = list(figures)
    return lambda _: left.pop(0)


def test_the_better_calibration_is_kept(tmp_path, graph, batches):
    record = run(tmp_path, graph, batches, judged(0.7, 0.69, 0.699))
    assert [trial["method"] for trial in record["trials"]] == ["max", "percentile"]
    assert record["chosen"] == {"method": "percentile", "kept": [], "ndcg": 0.699}
    trt = tensorrt_rtx()
    assert record["parsed_by"].startswith("the table alone" if trt is None else "the table and TensorRT-RTX")
    assert {path.name for path in tmp_path.iterdir()} == {"fp32.onnx", "int8.onnx", "model.onnx", "compression.json"}
    assert (tmp_path / "fp32.onnx").read_bytes() == (graph / "model.onnx").read_bytes()
    master, served = (onnx.load(tmp_path / name) for name in ("int8.onnx", "model.onnx"))
    assert qdq.linears(master)
    some = list(feeds())[:2]
    one, other = outputs(session(master), some), outputs(session(served), some)
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=0.02)


def test_layers_stay_in_floating_point_where_the_budget_is_broken(tmp_path, graph, batches):
    record = run(tmp_path, graph, batches, judged(0.7, 0.6, 0.698), methods=("percentile",), most_error=1e-6)
    assert record["chosen"]["ndcg"] == 0.698
    assert record["chosen"]["kept"]
    assert not set(record["chosen"]["kept"]) & set(qdq.linears(onnx.load(tmp_path / "int8.onnx")))


def test_layers_are_reported_where_the_settings_ask_for_it(tmp_path, graph, batches):
    record = run(tmp_path, graph, batches, judged(0.7, 0.7), methods=("max",), most_error=1e-9, sensitivity=True)
    assert record["chosen"]["kept"] == []
    told = json.loads((tmp_path / "sensitivity.json").read_text())
    assert [layer["name"] for layer in told["layers"]] == qdq.linears(onnx.load(tmp_path / "int8.onnx"))
    assert set(told["kept"]) <= {layer["name"] for layer in told["layers"]}
    assert (tmp_path / "sensitivity.md").exists()


def test_where_no_layer_is_to_blame_the_best_calibration_stays(tmp_path, graph, batches):
    record = run(tmp_path, graph, batches, judged(0.7, 0.6), methods=("percentile",), most_error=1.0)
    assert record["chosen"] == {"method": "percentile", "kept": [], "ndcg": 0.6}
    assert (tmp_path / "sensitivity.json").exists()


def test_fp32_is_served_where_it_is_wanted(tmp_path, graph, batches):
    run(tmp_path, graph, batches, judged(0.7), precision="fp32", half=True)
    assert (tmp_path / "model.onnx").read_bytes() == (graph / "model.onnx").read_bytes()
    assert not (tmp_path / "int8.onnx").exists()
    assert (tmp_path / "fp16.onnx").stat().st_size < 0.7 * (tmp_path / "fp32.onnx").stat().st_size


def test_a_calibration_that_fails_does_not_end_the_others(tmp_path, graph, batches, monkeypatch):
    real = module.quantise

    def failing(folder, *, method, **more):
        if method == "max":
            raise ArtefactError("max: too far")
        real(folder, method=method, **more)

    monkeypatch.setattr(module, "quantise", failing)
    record = run(tmp_path, graph, batches, judged(0.7, 0.699))
    assert record["chosen"]["method"] == "percentile"
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    (tmp_path / "again").mkdir()
    record = run(tmp_path / "again", graph, batches, judged(0.7), methods=("max",))
    assert record["refused"] == "max: too far"
    assert {path.name for path in (tmp_path / "again").iterdir()} == {"fp32.onnx", "model.onnx", "compression.json"}


def test_a_form_that_says_the_same_of_everything_is_refused_and_fp32_stays(tmp_path, graph, batches):
    figures = iter([0.7, None, 0.699])

    def judge(_):
        if (figure := next(figures)) is None:
            raise ArtefactError("encoder gives the same score to every product")
        return figure

    assert run(tmp_path, graph, batches, judge)["chosen"]["method"] == "percentile"
