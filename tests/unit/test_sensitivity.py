"""The report names the layer that loses most, and the choice keeps it."""

import json
from dataclasses import replace
from functools import cache

import onnx
import pytest
from quantised import feeds, write_encoder
from rich.console import Console

from build.compression import qdq
from build.compression.quantise import calibrated
from build.compression.sensitivity import measure, write


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """fp32 graph, and a master in which one activation is scaled far too coarsely."""
    folder = tmp_path_factory.mktemp("encoder")
    graph = write_encoder(folder)
    master = calibrated(graph, feeds(), "max", Console(quiet=True))
    scales = qdq.activations(master)
    *_, spoilt = scales  # what the last layer reads, alone
    onnx.save(qdq.rescaled(master, {**scales, spoilt: 60 * scales[spoilt]}), folder / "int8.onnx")
    return {"graph": graph, "master": folder / "int8.onnx"}


@pytest.fixture(scope="module")
def measured(files):
    """Measure for a loss, each asked for once."""
    return cache(lambda most_loss: measure(**files, feeds=feeds(3, seed=9), most_loss=most_loss))


@pytest.fixture(scope="module")
def found(measured):
    """Where any loss will do."""
    return measured(1.0)


SPOILT = "/projection/MatMul"


class TestMeasure:
    def test_names_every_layer_in_the_graph_s_order(self, found, files):
        assert [layer.name for layer in found.layers] == qdq.linears(onnx.load(files["master"]))

    def test_the_coarsest_layer_loses_most_alone_and_gains_most_when_kept(self, found):
        assert max(found.layers, key=lambda layer: layer.loss).name == SPOILT
        assert max(found.layers, key=lambda layer: layer.gain).name == SPOILT

    def test_losses_are_those_of_the_whole_and_its_parts(self, found):
        worst = max(found.layers, key=lambda layer: layer.loss)
        assert found.loss == pytest.approx(worst.loss, rel=0.3)
        assert all(0 <= layer.loss <= found.loss * 1.1 for layer in found.layers)


class TestKept:
    def test_are_the_worst_first_and_no_more_than_must_be(self, found, measured):
        chosen = measured(found.loss / 3)
        assert chosen.kept == (SPOILT,)
        assert chosen.left <= found.loss / 3
        assert chosen.layers == found.layers

    def test_are_none_where_all_lose_little(self, found):
        assert (found.kept, found.left) == ((), found.loss)

    @pytest.mark.parametrize("most_loss", [1e-12, -1.0])
    def test_are_all_where_nothing_else_will_do(self, measured, most_loss):
        chosen = measured(most_loss)
        assert len(chosen.kept) == len(chosen.layers)
        assert chosen.left == pytest.approx(0, abs=1e-12)


def test_writes_figures_a_table_and_a_plot(found, tmp_path):
    kept = found.layers[0].name
    write(tmp_path, replace(found, kept=(kept,)))
    record = json.loads((tmp_path / "sensitivity.json").read_text())
    assert record["kept"] == [kept]
    assert [layer["loss"] for layer in record["layers"]] == [layer.loss for layer in found.layers]
    (row,) = [line for line in (tmp_path / "sensitivity.md").read_text().splitlines() if line.endswith("| yes |")]
    assert row.startswith(f"| {kept} |")
    assert (tmp_path / "sensitivity.png").read_bytes().startswith(b"\x89PNG")
