"""Which linear layers lose by int8: each quantised alone, and each kept alone in floating point.

The loss is 1 - cosine to the fp32 outputs, the worst of the outputs. A build measures it where int8 costs more than the
budget, and of every network where the settings have `compression.sensitivity`; the report lies beside the network.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from matplotlib.figure import Figure
from onnx import ModelProto
from rich.console import Console

from build.compression import qdq
from build.compression.fidelity import Feed, cosines, outputs, session
from build.progress import progress
from shelfbridge.measure import report as reports


@dataclass(frozen=True)
class Layer:
    """What a linear layer's int8 costs.

    loss: 1 - cosine when it alone is quantised. gain: of the loss when it alone is kept in floating point.
    """

    name: str
    loss: float
    gain: float


@dataclass(frozen=True)
class Sensitivity:
    """The layers in the graph's order, and the loss when all are quantised.

    kept: the layers that have to stay in floating point for a given loss, most gain first. left: the loss with them.
    """

    layers: tuple[Layer, ...]
    loss: float
    kept: tuple[str, ...]
    left: float


def measure(
    graph: Path, master: Path, feeds: Sequence[Feed], *, most_loss: float, console: Console | None = None
) -> Sensitivity:
    """Measure every layer of a master, in its CPU form, and choose those to keep.

    Args:
        graph: the fp32 file.
        master: `int8.onnx` with every layer quantised.
        feeds: rows that were not calibrated on.
        most_loss: layers are chosen until the loss is at most this; where it never is, all of them are.
    """
    reference, whole = onnx.load(graph), onnx.load(master)
    expected = outputs(session(reference), feeds)

    def loss(model: ModelProto) -> float:
        worst = 1 - min(cosines(expected, outputs(session(qdq.cpu_form(model)), feeds)).values())
        return worst if np.isfinite(worst) else np.inf

    everything = loss(whole)
    layers = []
    with progress(console or Console(quiet=True)) as bar:
        for name in bar.track(qdq.linears(whole), description="sensitivity"):
            gain = everything - loss(qdq.keep_float(whole, reference, [name]))
            layers.append(Layer(name, loss(qdq.only(whole, reference, name)), gain))
    kept, left = list[str](), everything
    for layer in sorted(layers, key=lambda layer: -layer.gain):
        if left <= most_loss:
            break
        kept.append(layer.name)
        left = loss(qdq.keep_float(whole, reference, kept))
    return Sensitivity(tuple(layers), everything, tuple(kept), left)


def write(folder: Path, found: Sensitivity) -> None:
    """Write `sensitivity.json`, `.md` and `.png`."""
    columns: dict[str, reports.Cell] = {
        "layer": "{name}",
        "loss alone in int8": "{loss:.5f}",
        "gain kept in floating point": "{gain:+.5f}",
        "kept": lambda layer: "yes" if layer.name in found.kept else "",
    }
    told = (
        f"Loss with all {len(found.layers)} layers in int8: {found.loss:.5f} (1 - cosine); with those kept in floating "
        f"point that are marked: {found.left:.5f}."
    )
    blocks: list[str | reports.Table] = [told, reports.Table.of(columns, found.layers)]
    size = (8, 0.28 * len(found.layers) + 1.4)
    reports.Report("sensitivity", asdict(found), blocks, lambda figure: _draw(figure, found), size).write(folder)


def _draw(figure: Figure, found: Sensitivity) -> None:
    places = np.arange(len(found.layers))
    axes = figure.subplots()
    colours = [reports.RED if layer.name in found.kept else reports.BLUE for layer in found.layers]
    axes.barh(places - 0.2, [layer.loss for layer in found.layers], height=0.4, color=colours, label="alone in int8")
    gains = [layer.gain for layer in found.layers]
    axes.barh(places + 0.2, gains, height=0.4, color=reports.GREY, label="gain if kept")
    axes.set_yticks(places, [layer.name.strip("/") for layer in found.layers], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel(f"1 - cosine to fp32 (all in int8: {found.loss:.4f})")
    axes.legend()
