"""Small graphs, and a release of them, to build engines from."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
from rich.console import Console

from build.engines import __main__ as program
from build.engines.builder import Options
from build.engines.quality import Judged
from build.engines.report import Report
from build.engines.stage import Bench
from build.release.publish import publish
from shelfbridge.catalogue import Catalogue, Judgment, Judgments
from shelfbridge.contract import SIGNALS
from tests.functional import tiny
from tests.unit.engine_double import CpuDevice
from tests.unit.tensorrt_double import TensorRTDouble

NETWORKS = ("encoder", "ranker", "cross_encoder")
OF_SHELF = ("user_encoder", "shelf_ranker")
MASTERS = ("fp32.onnx", "int8.onnx", "fp16.onnx")
QUIET = Console(file=io.StringIO())
PLAIN = Options()
WORDS = 50
LENGTHS = {"query": {4: 30, 8: 50}, "candidates": {20: 60, 33: 40}, "pair": {12: 40, 16: 60}}
RANKER = (
    tiny.RANKER.replace("SIGNALS", str(len(SIGNALS)))
    .replace("Cast <to = 1> (candidate_tokens)", "DequantizeLinear (candidate_tokens, step)")
    .replace(
        'products = Einsum <equation = "nsd,nctd->ncst"> (token_vectors, tokens)',
        """turned = Transpose <perm = [0, 2, 1]> (token_vectors)
    one = Constant <value = int64[1] {1}> ()
    queries = Unsqueeze (turned, one)
    products = MatMul (tokens, queries)
    two = Constant <value = int64[1] {2}> ()""",
    )
    .replace("ReduceMax <keepdims = 0> (products, last)", "ReduceMax <keepdims = 0> (products, two)")
)
"""The small ranker without the cast that TensorRT's parser lacks for int8, and without the slow Einsum."""
STEP = np.array(1, np.float32)


def write_graphs(folder: Path) -> dict[str, Path]:
    """The three graphs, by model."""
    dense, late = tiny.tables(WORDS)
    tiny.write_model(folder / "encoder.onnx", tiny.ENCODER, dense=dense, late=late)
    tiny.write_model(folder / "ranker.onnx", RANKER, step=STEP)
    tiny.write_model(folder / "cross_encoder.onnx", tiny.CROSS_ENCODER)
    return {name: folder / f"{name}.onnx" for name in NETWORKS}


def write_parts(folder: Path) -> dict[str, Path]:
    """What a release is made of, by model; the masters are the graphs themselves."""
    parts = tiny.write_parts(folder)
    tiny.write_model(parts["ranker"] / "model.onnx", RANKER, step=STEP)
    for name in (*NETWORKS, *OF_SHELF):
        for master in MASTERS:
            shutil.copy(parts[name] / "model.onnx", parts[name] / master)
    return parts


def write_release(folder: Path) -> Path:
    """An `out` folder with release 1 in it."""
    parts = write_parts(folder / "tiny")
    (folder / "lengths.json").write_text(json.dumps(LENGTHS))
    publish(
        folder / "out/releases",
        parts=parts,
        about={"base": "tiny", "shelf": {"events": {"1": 40, "12": 60}}},
        extra={"lengths.json": folder / "lengths.json"},
    )
    return folder / "out"


def judged() -> Judged:
    """Two queries of the small catalogue, and what is relevant to them."""
    products = tiny.catalogue()
    rows = [
        Judgment(query_id=color, query=f"{color} camping tent", product_id=p.product_id, label="E", split="dev")
        for color in ("red", "blue")
        for p in products
        if p.title.startswith(f"{color} camping tent")
    ]
    return Judged(Catalogue(tuple(products)), Judgments(tuple(rows)), "dev")


def run(
    out: Path,
    trt: TensorRTDouble,
    *,
    judge_by: Judged | None = None,
    options: Options = PLAIN,
    release: Path | None = None,
) -> Path:
    """The program's work, with its report in `out/report`."""
    device = CpuDevice()
    gpu = {"name": device.name, "compute_capability": device.compute_capability}
    report = Report(out / "report", trt.__version__, gpu)
    with report.kept():
        made = program.run(
            release or out / "releases/current",
            Bench(trt, device, out / "engines", 2, QUIET),
            report,
            precision="int8",
            options=options,
            judged=judge_by,
            budget=0.005,
        )
    report.write(release=int(made.name))
    return made


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(releases: Path) -> set[str]:
    """What is in a folder of releases."""
    return {path.name for path in releases.iterdir() if path.name != ".lock" and not path.match("[0-9]*.changes")}
