"""The frontier's choice and its report."""

import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from rich.console import Console

from build.evaluation.panel import Verdict
from build.frontier.networks import GRIDS, Row, Workbench, choose
from build.frontier.report import _draw_networks, summary
from build.frontier.timing import timed
from build.settings import preset
from shelfbridge.measure.report import picture

FIGURE = {"original": 0.7, "served": 0.69, "difference": -0.01, "low": -0.02, "high": 0.0}


def row(name: str, ms: float | None, dev: float, panel: float, precision: str = "int8") -> Row:
    return {
        "network": "encoder",
        "name": name,
        "precision": precision,
        "multiply_adds": 1000,
        "megabytes": 1.0,
        "dev": {**FIGURE, "difference": dev},
        "all": {**FIGURE, "difference": panel},
        "alone": None,
        "tau": 0.9,
        "ms": ms,
        "per_second": ms and 1000 / ms,
    }


class TestChoice:
    @staticmethod
    def chosen(*rows: Row) -> list[str]:
        choose(rows, 0.005)
        return [one["name"] for one in rows if one["chosen"]]

    def test_is_the_quickest_within_the_budget(self):
        assert self.chosen(row("a", 4, 0, 0), row("b", 2, -0.004, 0.01), row("c", 1, -0.006, 0.01)) == ["b"]

    def test_holds_on_dev_and_on_the_panel(self):
        assert self.chosen(row("a", 4, 0, 0), row("b", 2, 0.01, -0.006)) == ["a"]

    def test_needs_a_time_on_this_machine(self):
        assert self.chosen(row("a", 4, 0, 0), row("half", None, 0, 0, "fp16")) == ["a"]

    def test_may_be_none(self):
        assert self.chosen(row("a", 4, -1, -1)) == []


class TestReport:
    @staticmethod
    def record() -> dict[str, object]:
        rows = []
        for network in ("encoder", "ranker", "cross_encoder"):
            for name, ms, precision in (("teacher", 4.0, "fp32"), ("3x12x64", 1.0, "int8"), ("2x12x64", 0.9, "int8")):
                marks = {"network": network, "served": name == "3x12x64", "chosen": name == "2x12x64"}
                cost = None if network == "ranker" else 1000 if name == "teacher" else 250
                rows.append({**row(name, ms, -0.001, 0.002, precision), **marks, "multiply_adds": cost})
        return {"rows": rows, "budget": 0.005, "dev": 3, "all": 5, "products": 10, "cores": 2, "refused": []}

    def test_the_summary_shows_teacher_served_and_chosen(self):
        lines = summary(self.record()).splitlines()
        assert len(lines) == 2 + 9
        assert lines[2].startswith("| Encoder of queries | teacher, fp32 | 0.690 |  |  | 1/1.0 |")
        assert "| -0.0010 [-0.020, +0.000] | +0.0020 [-0.020, +0.000] | 1/4.0 | 1.0 | 1.00 | 1000 |" in lines[3]
        assert [line.split("|")[-2].strip() for line in lines[2:5]] == ["", "served", "chosen"]

    def test_the_plot_is_drawn(self, tmp_path):
        picture(tmp_path / "frontier.png", lambda figure: _draw_networks(figure, self.record()), (13, 4.2))
        assert (tmp_path / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_every_student_that_a_preset_serves_is_in_its_grid():
    for name, grid in GRIDS.items():
        settings = preset(name)
        if name != "smoke":
            assert settings.encoder_student in (None, *grid.encoders)
            assert settings.cross_encoder_student in (None, *grid.cross_encoders)


@pytest.fixture
def graphs(tmp_path) -> dict[str, Path]:
    """Two graphs, one of which multiplies ten times as much."""
    made = {}
    for name, times in (("light", 1), ("heavy", 10)):
        steps = "\n".join(f"x{n + 1} = MatMul (x{n}, x{n})" for n in range(times))
        text = f"""<ir_version: 9, opset_import: ["": 18]>
        g (float[64, 64] x0) => (float[64, 64] x{times}) {{ {steps} }}"""
        made[name] = tmp_path / f"{name}.onnx"
        onnx.save(onnx.parser.parse_model(text), made[name])
    return made


def test_times_are_of_each_candidate(graphs, monkeypatch):
    monkeypatch.setattr("build.frontier.timing.SECONDS", 0.05)
    begun = time.perf_counter()
    found = timed(graphs, [{"x0": np.zeros((64, 64), np.float32)}] * 3, Console(quiet=True))
    assert set(found) == set(graphs)
    assert found["heavy"]["ms"] > found["light"]["ms"]
    assert found["heavy"]["per_second"] < found["light"]["per_second"]
    assert time.perf_counter() - begun < 10


def test_every_form_of_a_candidate_is_judged_and_what_the_cpu_serves_is_timed(graphs, monkeypatch, tmp_path):
    """Compression left all forms of the encoder, the CPU's with moved zero-points; the ranker's int8 was refused."""
    monkeypatch.setattr("build.frontier.timing.SECONDS", 0.01)
    encoder, ranker = tmp_path / "encoder", tmp_path / "ranker"
    for folder, files in (
        (encoder, {"fp32": "heavy", "int8": "light", "model": "light", "fp16": "light"}),
        (ranker, {"model": "heavy"}),
    ):
        folder.mkdir()
        for name, graph in files.items():
            shutil.copy(graphs[graph], folder / f"{name}.onnx")
    (encoder / "int8.onnx").write_bytes(b"the master, which the CPU does not run")
    (encoder / "compression.json").write_text("{}")
    (ranker / "compression.json").write_text('{"refused": "it loses too much"}')
    settings = SimpleNamespace(
        encoder_student=None,
        cross_encoder_student=None,
        compression=SimpleNamespace(budget=0.005, precision="int8"),
    )
    stages = SimpleNamespace(
        shop=SimpleNamespace(settings=settings, console=Console(quiet=True)), compressed=lambda network, graph: graph
    )
    bench = Workbench(stages, SimpleNamespace(run=lambda folder: folder), SimpleNamespace(dev=2), None)
    verdict = Verdict([(np.arange(3), -np.arange(3.0))] * 4, np.array([0.2, 0.4, 0.6, 0.8]))
    some = [("encoder", "teacher", encoder, None), ("ranker", "teacher", ranker, None)]
    monkeypatch.setattr(Workbench, "_graphs", lambda self, grid: iter(some))
    monkeypatch.setattr(Workbench, "_feeds", lambda self, network: [{"x0": np.zeros((64, 64), np.float32)}])
    monkeypatch.setattr(
        Workbench, "_verdicts", lambda self, network, running: (verdict, verdict if network == "ranker" else None)
    )
    monkeypatch.setattr("build.frontier.networks.session", lambda file, threads: file)
    rows = bench.rows(GRIDS["smoke"])
    assert [(one["network"], one["precision"]) for one in rows] == [
        ("encoder", "fp32"),
        ("encoder", "int8"),
        ("encoder", "fp16"),
        ("ranker", "fp32"),
    ]
    assert rows[1]["megabytes"] == graphs["light"].stat().st_size / 1e6
    assert [one["ms"] is not None for one in rows] == [True, True, False, True]
    assert [one["served"] for one in rows] == [False, True, False, True]
    assert [one["alone"] for one in rows] == [None, None, None, pytest.approx(0.3)]
    assert (rows[0]["dev"]["served"], rows[0]["all"]["served"], rows[0]["tau"]) == pytest.approx((0.3, 0.5, 1))
    assert [one["chosen"] for one in rows] == [False, True, False, True]
    assert bench.refused == ["ranker teacher: it loses too much"]
    assert list(rows[0])[-4:] == ["ms", "per_second", "served", "chosen"]
