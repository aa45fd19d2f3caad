"""The arithmetic of a search is counted as it is, held against peaks, and its time told apart from the rest."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import numpy_helper, parser
from transformers import BertConfig, BertModel

from build.compression.export import export_encoder
from build.training.models import Encoder
from build.training.narrow import multiplications
from loadtests.lab.roofline import peaks, profile, report
from loadtests.lab.roofline.__main__ import against, overhead, places_alone, places_saturated
from loadtests.lab.roofline.costs import graph, mean, retrieval
from loadtests.lab.roofline.served import PHASES, between
from loadtests.serving import difference
from loadtests.timing import percentiles
from loadtests.usage import part
from shelfbridge.contract import TOKEN_WIDTH
from shelfbridge.errors import PrerequisiteError
from shelfbridge.measure.report import picture
from shelfbridge.retrieval import Candidates

QUANTISED = """<ir_version: 9, opset_import: ["": 18]>
both (float[m, 6] x) => (float[m, 4] out)
{
    scale = Constant <value_float = 0.1> ()
    zero = Constant <value = int8 {0}> ()
    stored = QuantizeLinear (x, scale, zero)
    left = DequantizeLinear (stored, scale, zero)
    right = DequantizeLinear (weights, scale, zero)
    first = MatMul (left, right)
    out = MatMul (first, plain)
}"""


@pytest.fixture
def quantised(tmp_path):
    """A product [m, 6] x [6, 5] of integers, then one [m, 5] x [5, 4] of floats."""
    model = parser.parse_model(QUANTISED)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((6, 5), np.int8), "weights"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((5, 4), np.float32), "plain"))
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_products_between_dequantised_tensors_count_as_integers(quantised):
    cost = graph(quantised, [{"x": np.ones((3, 6), np.float32)}])
    assert (cost["int8"], cost["fp32"]) == (3 * 6 * 5, 3 * 5 * 4)


def test_bytes_are_the_weights_as_stored_and_what_goes_in_and_out(quantised):
    weights, given, made = 6 * 5 + 5 * 4 * 4, 3 * 6 * 4, 3 * 4 * 4
    assert graph(quantised, [{"x": np.ones((3, 6), np.float32)}])["bytes"] == weights + given + made


def test_the_encoders_graph_costs_what_its_modules_say(tmp_path):
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    trunk = BertModel(BertConfig(vocab_size=1000, hidden_size=32, **sizes))
    trunk.save_pretrained(tmp_path / "base")
    Encoder(str(tmp_path / "base"), attention="eager").save(tmp_path)
    export_encoder(tmp_path, trained=tmp_path)
    length = 9
    ids = np.arange(1, 1 + length, dtype=np.int64)[None]
    cost = graph(tmp_path / "model.onnx", [{"input_ids": ids, "attention_mask": np.ones_like(ids)}])
    assert cost["fp32"] == length * (multiplications(trunk, length) + 32 * TOKEN_WIDTH)
    assert cost["int8"] == 0


@pytest.mark.parametrize(
    ("product", "left", "right", "count"),
    [
        ("MatMul", (7, 3), (3, 5), 7 * 3 * 5),
        ("MatMul", (2, 4, 7, 3), (4, 3, 5), 2 * 4 * 7 * 3 * 5),
        ("MatMul", (7, 3), (3,), 7 * 3),
        ("MatMul", (3,), (3, 5), 3 * 5),
        ("Gemm", (7, 3), (3, 5), 7 * 3 * 5),
        ("Gemm <transB = 1>", (7, 3), (5, 3), 7 * 3 * 5),
    ],
)
def test_a_product_is_counted_by_its_shapes(product, left, right, count, tmp_path):
    sides = [f"float[{','.join(map(str, shape))}] {name}" for name, shape in (("a", left), ("b", right))]
    made = "float[" + ",".join(f"d{at}" for at in range(max(1, len(left) + min(len(right), 2) - 2))) + "] out"
    text = f"""<ir_version: 9, opset_import: ["": 18]>
    one ({", ".join(sides)}) => ({made}) {{ out = {product} (a, b) }}"""
    onnx.save(parser.parse_model(text), tmp_path / "model.onnx")
    feeds = [{"a": np.ones(left, np.float32), "b": np.ones(right, np.float32)}] * 2
    assert graph(tmp_path / "model.onnx", feeds)["fp32"] == count


def test_retrieval_scans_all_products_and_compares_the_found_ones():
    found = Candidates(
        rows=np.zeros(4, np.int32),
        signals=np.zeros((4, 2), np.float32),
        tokens=np.zeros((4, 3, 8), np.int8),
        lengths=np.zeros(4, np.int32),
        cosines=np.zeros((4, 4), np.float32),
    )
    cost = retrieval(1000, 8, found)
    assert (cost["fp32"], cost["int8"]) == (1000 * 8 + 4 * 8 + 4 * 4 * 8, 0)
    assert cost["bytes"] == 4 * (1000 * 8 + 4 * 8) + 2 * (4 * 4 + 4 * 2 * 4 + 4 * 3 * 8 + 4 * 4 + 4 * 4 * 4)


def test_the_mean_cost_is_over_searches():
    two = [{"fp32": 10, "int8": 2, "bytes": 5}, {"fp32": 20, "int8": 4, "bytes": 7}]
    assert mean(two) == {"fp32": 15, "int8": 3, "bytes": 6}


def test_a_step_is_held_against_the_slower_of_arithmetic_and_memory():
    peak = peaks.Peaks(threads=1, fp32=10, int8=40, memory=5)
    step = against({"fp32": 10_000_000, "int8": 40_000_000, "bytes": 25_000_000}, ms=10.0, peak=peak)
    assert step["of_peak"] == pytest.approx(0.2)  # 1 ms of fp32 and 1 ms of int8
    assert step["of_roofline"] == pytest.approx(0.5)  # 5 ms of bytes
    assert step["rate"] == pytest.approx(5.0)
    assert step["int8_share"] == 0.8


def test_peaks_are_measured_and_integers_are_not_slower(monkeypatch):
    monkeypatch.setattr(peaks, "SIZE", 256)
    monkeypatch.setattr(peaks, "COPIED", 1 << 22)
    found = peaks.measured(1, 0.05)
    assert found.int8 > 0.5 * found.fp32 > 0.1
    assert found.memory > 0.1


def test_the_quickest_run_counts_after_one_that_does_not(monkeypatch):
    clock = iter([0.0, 0.1, 0.2, 5.2, 5.3, 5.4, 6.4, 99.0])
    monkeypatch.setattr(peaks.time, "perf_counter", lambda: next(clock))
    runs = []
    assert peaks.quickest(lambda: runs.append(1), 10.0) == pytest.approx(1.0)
    assert len(runs) == 3


LOAD = {
    "clients": 16,
    "per_second": 200.0,
    "latency": {"p50": 60.0, "p95": 80.0, "p99": 90.0, "mean": 61.0},
    "errors": 0,
    "cpu": {"tritonserver": 2.0, "search": 6.0, "client": 1.0},
    "steps": {"preprocess": 0.3},
    "models": {"search": {"requests": 100, "batch": 1.0, "success": 9.0, **dict.fromkeys(PHASES, 1.0)}},
}
BARE = {"encoder": 1.0, "index": 2.0, "ranker": 1.0}


def test_overhead_is_the_servers_cpu_beyond_the_arithmetic_and_leaves_the_client_out():
    found = overhead(LOAD, BARE)
    assert found == {"cpu_ms": 4.0, "over_bare": 1.0, "of_server": 0.5}


def test_all_cpu_time_has_a_place():
    places = places_saturated(LOAD, BARE)
    assert places["Python around the steps"] == 2.0
    assert sum(places.values()) == sum(LOAD["cpu"].values())


def alone():
    def figures(value):
        return percentiles(np.full(10, value))

    return {
        "searches": 10,
        "served": figures(9.0),
        "arithmetic": {name: figures(value) for name, value in BARE.items()},
        "overhead": figures(5.0),
        "steps": {"preprocess": figures(0.5), "encoder": figures(1.5), "postprocess": figures(0.25)},
        "models": {"search": {"success": 8.0}},
    }


def test_a_lone_searchs_milliseconds_all_have_a_place():
    places = places_alone(alone())
    assert places["hops and queues"] == pytest.approx(8.0 - 4.0 - 0.75)
    assert places["gRPC and client"] == pytest.approx(1.0)
    assert sum(places.values()) == pytest.approx(9.0)


def test_tritons_figures_are_those_since_the_last_look():
    columns = ["requests", "executions", "success", *PHASES]

    def totals(**models):
        rows = {name: [requests, executions, *[ns] * 5] for name, (requests, executions, ns) in models.items()}
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)

    before = totals(encoder=(100, 50, 4_000_000), idle=(5, 5, 1))
    after = totals(encoder=(110, 55, 24_000_000), idle=(5, 5, 1), new=(1, 1, 3_000_000))
    rows = between(before, after)
    assert set(rows) == {"encoder", "new"}
    assert rows["encoder"]["queue"] == pytest.approx(2.0)
    assert rows["encoder"]["batch"] == 2.0
    assert rows["new"]["success"] == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["/w/bin/tritonserver", "--model-repository=/r"], "tritonserver"),
        (["/w/triton_python_backend_stub", "/r/encoder/3/model.onnx", "prefix"], "encoder"),
        (["/w/triton_python_backend_stub", "/run/models/pipelines/1/model.py", "prefix"], "pipelines"),
        ([], "ended"),
    ],
)
def test_a_process_is_named_by_the_model_it_runs(command, name):
    assert part(command) == name


def test_what_is_new_counts_from_nothing():
    assert difference({"a": 3.0, "b": 1.0}, {"a": 1.0}) == {"a": 2.0, "b": 1.0}


def test_a_functions_own_time_leaves_out_what_it_calls_and_what_is_no_python():
    stacks = ["run (a.py);search (b.py) 3", "run (a.py);search (b.py);take (c.py) 5", "run (a.py) 2", " 40"]
    assert profile.self_samples(stacks) == {"search (b.py)": 3, "take (c.py)": 5, "run (a.py)": 2}


def spy(folder: Path, monkeypatch, script: str) -> None:
    """A py-spy that does what the script says; `$out` is the file it should write."""
    program = folder / "py-spy"
    program.write_text(f'#!/bin/sh\nwhile [ "$1" != --output ]; do shift; done\nout="$2"\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setattr(profile, "sys", SimpleNamespace(executable=str(folder / "python")))


def test_samples_of_all_processes_of_a_part_are_shared_out_together(tmp_path, monkeypatch):
    spy(tmp_path, monkeypatch, """printf 'run (a.py) 3\\nrun (a.py);take (b.py) 1\\n' > "$out" """)
    with profile.sampling({11: "retrieve", 12: "retrieve", 13: "encoder"}, 1) as shares:
        found = shares()
    assert found == {
        (part, function): share
        for part in ("retrieve", "encoder")
        for function, share in (("run (a.py)", 0.75), ("take (b.py)", 0.25))
    }


def test_where_tracing_is_forbidden_the_profile_says_so(tmp_path, monkeypatch):
    spy(tmp_path, monkeypatch, "echo 'Error: Permission Denied' >&2; exit 1")
    with (
        profile.sampling({11: "retrieve"}, 1) as shares,
        pytest.raises(PrerequisiteError, match=r"Permission Denied.*SYS_PTRACE"),
    ):
        shares()


def test_without_the_sampler_the_profile_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(profile, "sys", SimpleNamespace(executable=str(tmp_path / "python")))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match="pip install py-spy"), profile.sampling({1: "retrieve"}, 1):
        pass
    assert sys.executable  # the module's own view alone was changed


def record(profiled):
    peak = {"threads": 1, "fp32": 50.0, "int8": 200.0, "memory": 20.0}
    cost = {"fp32": 10_000_000, "int8": 0, "bytes": 1_000_000}
    return {
        "machine": {"processor": "a processor", "cores": 2, "memory_gb": 8.0},
        "products": 6764,
        "peaks": [peak, {**peak, "threads": 2}],
        "steps": {name: against(cost, 1.0, peaks.Peaks(**peak)) for name in BARE},
        "alone": alone(),
        "saturated": {
            **LOAD,
            "bare_cpu": BARE,
            "overhead": overhead(LOAD, BARE),
        },
        "places": {"alone": places_alone(alone()), "saturated": places_saturated(LOAD, BARE)},
        "profile": profiled,
    }


def test_the_report_names_overhead_peaks_and_functions(tmp_path):
    rows = [{"part": "search", "function": "take (b.py)", "ms": 0.5}]
    text = report.table(record({"clients": 16, "rows": rows}))
    assert "**5.00 ms** at concurrency 1" in text
    assert "**100%** of the arithmetic's CPU time at 16 clients" in text
    assert "| encoder | 10.0 (0%) | 1.00 | 1.00 | 10.0 | 20% | 20% |" in text
    assert "| search | `take (b.py)` | 0.500 |" in text
    picture(
        tmp_path / "roofline.png", lambda figure: report.draw(figure, record({"skipped": "not asked for"})), (13, 4.4)
    )
    assert (tmp_path / "roofline.png").stat().st_size > 10_000


def test_a_profile_that_was_skipped_has_its_reason_in_the_report():
    assert "No profile: not asked for." in report.table(record({"skipped": "not asked for"}))
