"""The report names the layer that loses most, and the choice keeps it."""

import json
import sys

import numpy as np
import onnx
import pytest
from quantised import feeds, write_encoder
from rich.console import Console

from build.compression import qdq, sensitivity
from build.compression.quantise import calibrated
from build.compression.sensitivity import choose, measure, table, write
from shelfbridge.errors import ArtefactError


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
def report(files):
    return measure(**files, feeds=feeds(3, seed=9))


SPOILT = "/projection/MatMul"


class TestMeasure:
    def test_names_every_layer_in_the_graph_s_order(self, report, files):
        assert [layer.name for layer in report.layers] == qdq.linears(onnx.load(files["master"]))

    def test_the_coarsest_layer_loses_most_alone_and_gains_most_when_kept(self, report):
        assert max(report.layers, key=lambda layer: layer.loss).name == SPOILT
        assert max(report.layers, key=lambda layer: layer.gain).name == SPOILT

    def test_losses_are_those_of_the_whole_and_its_parts(self, report):
        worst = max(report.layers, key=lambda layer: layer.loss)
        assert report.loss == pytest.approx(worst.loss, rel=0.3)
        assert all(0 <= layer.loss <= report.loss * 1.1 for layer in report.layers)
        assert report.worth is None

    def test_a_judge_is_asked_of_each_model(self, files):
        def judge(session):
            return float(session.run(None, dict(feeds(1, seed=2)[0]))[0][0, 0])

        judged = measure(**files, feeds=feeds(1, seed=9), judge=judge)
        figures = [judged.worth, judged.worth_float, *(layer.worth for layer in judged.layers)]
        assert len(set(figures)) > len(judged.layers)
        assert f"Judge: fp32 {judged.worth_float:.4f}, all in int8 {judged.worth:.4f}." in table(judged)


class TestChoose:
    def test_keeps_the_worst_first_and_no_more_than_it_must(self, report, files):
        kept, left = choose(report, report.loss / 3, **files, feeds=feeds(3, seed=9))
        assert kept == [SPOILT]
        assert left <= report.loss / 3

    def test_keeps_none_where_all_lose_little(self, report, files):
        assert choose(report, 1.0, **files, feeds=feeds(3, seed=9)) == ([], report.loss)

    def test_can_keep_all(self, report, files):
        kept, left = choose(report, 1e-12, **files, feeds=feeds(3, seed=9))
        assert len(kept) == len(report.layers)
        assert left == pytest.approx(0, abs=1e-12)

    def test_says_so_where_that_is_not_enough(self, report, files):
        with pytest.raises(ArtefactError, match="left with no layer quantised"):
            choose(report, -1.0, **files, feeds=feeds(1, seed=9))


def test_writes_figures_a_table_and_a_plot(report, tmp_path):
    kept = [report.layers[0].name]
    write(tmp_path, report, kept)
    record = json.loads((tmp_path / "sensitivity.json").read_text())
    assert record["kept"] == kept
    assert [layer["loss"] for layer in record["layers"]] == [layer.loss for layer in report.layers]
    (row,) = [line for line in (tmp_path / "sensitivity.md").read_text().splitlines() if line.endswith("| yes |")]
    assert row.startswith(f"| {kept[0]} |")
    assert (tmp_path / "sensitivity.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_line_ends_with_the_layers_to_keep(files, tmp_path, monkeypatch, capsys):
    np.savez(tmp_path / "feed.npz", **feeds(1, seed=9)[0])
    said = ["sensitivity", "--graph", str(files["graph"]), "--master", str(files["master"])]
    said += ["--feeds", str(tmp_path / "feed.npz"), "--out", str(tmp_path), "--most-loss", "1"]
    monkeypatch.setattr(sys, "argv", said)
    sensitivity.main()
    assert "keep, for a loss of" in (printed := capsys.readouterr().out)
    assert printed.rstrip().endswith(": none")
