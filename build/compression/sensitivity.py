"""Which linear layers lose by int8: each quantised alone, and each kept alone in floating point.

    python -m build.compression.sensitivity --graph fp32.onnx --master int8.onnx --feeds held-out/*.npz --out DIR \
        --most-loss 0.01

Writes `sensitivity.json`, a table and a plot, and names the layers to keep for a loss below --most-loss; give them to
`python -m build.compression.quantise --keep`. The loss is 1 - cosine to the fp32 outputs,
the worst of the outputs; a judge, such as nDCG on queries held out, can stand beside it.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from matplotlib.figure import Figure
from onnx import ModelProto
from rich.console import Console

from build.compression import qdq
from build.compression.fidelity import Feed, Rows, cosines, outputs, session
from build.compression.quantise import read_feeds
from build.progress import progress
from shelfbridge.errors import ArtefactError, ShelfbridgeError
from shelfbridge.measure import report as reports

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
    size = (8, 0.28 * len(report.layers) + 1.4)
    reports.Report(
        "sensitivity", record, _blocks(report, kept), lambda figure: _draw(figure, report, kept), size
    ).write(folder)


def table(report: Report, kept: Sequence[str] = ()) -> str:
    """Return the report as Markdown."""
    return reports.markdown(_blocks(report, kept))


def _blocks(report: Report, kept: Sequence[str]) -> list[str | reports.Table]:
    columns: dict[str, reports.Cell] = {
        "layer": "{name}",
        "loss alone in int8": "{loss:.5f}",
        "gain kept in floating point": "{gain:+.5f}",
        "kept": lambda layer: "yes" if layer.name in kept else "",
    }
    judged = ""
    if report.worth is not None:
        columns["judge"] = "{worth:.4f}"
        judged = f"Judge: fp32 {report.worth_float:.4f}, all in int8 {report.worth:.4f}."
    all_lost = f"Loss with all {len(report.layers)} layers in int8: {report.loss:.5f} (1 - cosine)."
    return [all_lost, reports.Table.of(columns, report.layers), judged]


def _draw(figure: Figure, report: Report, kept: Sequence[str]) -> None:
    places = np.arange(len(report.layers))
    axes = figure.subplots()
    colours = [reports.RED if layer.name in kept else reports.BLUE for layer in report.layers]
    axes.barh(places - 0.2, [layer.loss for layer in report.layers], height=0.4, color=colours, label="alone in int8")
    gains = [layer.gain for layer in report.layers]
    axes.barh(places + 0.2, gains, height=0.4, color=reports.GREY, label="gain if kept")
    axes.set_yticks(places, [layer.name.strip("/") for layer in report.layers], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel(f"1 - cosine to fp32 (all in int8: {report.loss:.4f})")
    axes.legend()


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
        write(options.out, report, kept)
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error
    print(table(report, kept))
    print(f"keep, for a loss of {left:.5f}: {' '.join(kept) or 'none'}")


if __name__ == "__main__":
    main()
