"""Which linear layers lose by int8: each quantised alone, and each kept alone in floating point.

    python -m build.sensitivity --graph fp32.onnx --master int8.onnx --feeds held-out/*.npz --out DIR --most-loss 0.01

Writes `sensitivity.json`, a table and a plot, and names the layers to keep for a loss below --most-loss; give them to
`python -m build.quantise --keep`. The loss is 1 - cosine to the fp32 outputs (`build.fidelity`), the worst of the
outputs; a judge, such as nDCG on queries held out, can stand beside it.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib
import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto
from rich.console import Console

from build import qdq
from build.fidelity import Feed, Rows, cosines, outputs, session
from build.progress import progress
from build.quantise import read_feeds
from shelfbridge.errors import ArtefactError, ShelfbridgeError

matplotlib.use("Agg")
from matplotlib import pyplot

Judge = Callable[[onnxruntime.InferenceSession], float]
"""A figure of a model's use, more being better."""


@dataclass(frozen=True)
class Layer:
    """What a linear layer's int8 costs.

    loss: 1 - cosine when it alone is quantised. gain: of the loss when it alone is kept in floating point. worth: the
    judge's figure when it alone is quantised.
    """

    name: str
    loss: float
    gain: float
    worth: float | None = None


@dataclass(frozen=True)
class Report:
    """The layers, in the graph's order, and the loss (and the judge's figures) when all are quantised."""

    layers: tuple[Layer, ...]
    loss: float
    worth: float | None = None
    worth_float: float | None = None
    """The judge's figure of the fp32 file."""


def measure(
    graph: Path, master: Path, feeds: Sequence[Feed], *, judge: Judge | None = None, console: Console | None = None
) -> Report:
    """Measure every layer of a master, in its CPU form.

    Args:
        graph: the fp32 file.
        master: `int8.onnx` with every layer quantised.
        feeds: rows that were not calibrated on.
    """
    reference, whole = onnx.load(graph), onnx.load(master)
    running = session(reference)
    expected = outputs(running, feeds)
    worth_float = judge(running) if judge else None

    def tried(model: ModelProto) -> tuple[float, onnxruntime.InferenceSession]:
        running = session(qdq.cpu_form(model))
        return loss(expected, outputs(running, feeds)), running

    all_lost, running = tried(whole)
    layers = []
    with progress(console or Console(quiet=True)) as bar:
        for name in bar.track(qdq.linears(whole), description="sensitivity"):
            lost, alone = tried(qdq.only(whole, reference, name))
            kept, _ = tried(qdq.keep_float(whole, reference, [name]))
            layers.append(Layer(name, lost, all_lost - kept, judge(alone) if judge else None))
    return Report(tuple(layers), all_lost, judge(running) if judge else None, worth_float)


def loss(expected: Rows, got: Rows) -> float:
    """1 - cosine of the output that lost most; infinite where one is not finite."""
    worst = 1 - min(cosines(expected, got).values())
    return worst if np.isfinite(worst) else np.inf


def choose(
    report: Report, most_loss: float, *, graph: Path, master: Path, feeds: Sequence[Feed]
) -> tuple[list[str], float]:
    """The layers to keep in floating point so that the loss is at most `most_loss`: greedily, most gain first.

    Returns:
        Their names, and the loss that is left.

    Raises:
        ArtefactError: not even without any quantised layer.
    """
    reference, whole = onnx.load(graph), onnx.load(master)
    expected = outputs(session(reference), feeds)
    order = [layer.name for layer in sorted(report.layers, key=lambda layer: -layer.gain)]
    left = report.loss
    for count in range(len(order) + 1):
        if count:
            model = qdq.cpu_form(qdq.keep_float(whole, reference, order[:count]))
            left = loss(expected, outputs(session(model), feeds))
        if left <= most_loss:
            return order[:count], left
    raise ArtefactError(
        f"a loss of {left:.1e} is left with no layer quantised; ask for more than --most-loss {most_loss}"
    )


def write(folder: Path, report: Report, kept: Sequence[str] = ()) -> None:
    """Write `sensitivity.json`, `.md` and `.png`; `kept` names the layers chosen to stay in floating point."""
    record = {**asdict(report), "kept": list(kept)}
    (folder / "sensitivity.json").write_text(json.dumps(record, indent=2) + "\n")
    (folder / "sensitivity.md").write_text(table(report, kept))
    _plot(folder / "sensitivity.png", report, kept)


def table(report: Report, kept: Sequence[str] = ()) -> str:
    """The report as a Markdown table."""
    judged = report.worth is not None
    lines = [f"Loss with all {len(report.layers)} layers in int8: {report.loss:.5f} (1 - cosine).", ""]
    lines += ["| layer | loss alone in int8 | gain kept in floating point | kept |" + (" judge |" if judged else "")]
    lines += ["|---|---|---|---|" + ("---|" if judged else "")]
    for layer in report.layers:
        row = f"| {layer.name} | {layer.loss:.5f} | {layer.gain:+.5f} | {'yes' if layer.name in kept else ''} |"
        lines.append(row + (f" {layer.worth:.4f} |" if judged else ""))
    if judged:
        lines += ["", f"Judge: fp32 {report.worth_float:.4f}, all in int8 {report.worth:.4f}."]
    return "\n".join(lines) + "\n"


def _plot(path: Path, report: Report, kept: Sequence[str]) -> None:
    places = np.arange(len(report.layers))
    drawing, axes = pyplot.subplots(figsize=(8, 0.28 * len(places) + 1.4), layout="constrained")
    colours = ["#e45756" if layer.name in kept else "#4c78a8" for layer in report.layers]
    axes.barh(places - 0.2, [layer.loss for layer in report.layers], height=0.4, color=colours, label="alone in int8")
    axes.barh(places + 0.2, [layer.gain for layer in report.layers], height=0.4, color="#bab0ac", label="gain if kept")
    axes.set_yticks(places, [layer.name.strip("/") for layer in report.layers], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel(f"1 - cosine to fp32 (all in int8: {report.loss:.4f})")
    axes.legend()
    drawing.savefig(path, dpi=120)
    pyplot.close(drawing)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graph", type=Path, required=True, metavar="FILE", help="the fp32 ONNX file")
    parser.add_argument("--master", type=Path, required=True, metavar="FILE", help="int8.onnx, every layer quantised")
    parser.add_argument("--feeds", type=Path, nargs="+", required=True, metavar="FILE", help="held-out batches, .npz")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--most-loss", type=float, default=0.01, help="1 - cosine allowed (default: %(default)s)")
    options = parser.parse_args()
    try:
        feeds = read_feeds(options.feeds)
        report = measure(options.graph, options.master, feeds, console=Console())
        kept, left = choose(report, options.most_loss, graph=options.graph, master=options.master, feeds=feeds)
        options.out.mkdir(parents=True, exist_ok=True)
        write(options.out, report, kept)
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error
    print(table(report, kept))
    print(f"keep, for a loss of {left:.5f}: {' '.join(kept) or 'none'}")


if __name__ == "__main__":
    main()
