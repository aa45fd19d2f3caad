"""One network, from its fp32 graph to all the forms that are served: int8 and fp16, and the file for the CPU.

How ranges are calibrated is chosen by nDCG@10 of queries that are not calibrated on. Where the best choice still costs
more than the budget, the layers that lose most stay in floating point. `compression.json` says what was tried.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from build import fp16, sensitivity
from build.calibration import feeds_of
from build.offline import session
from build.panel import Network
from build.quantise import quantise, quantise_ranker
from build.release import hard_link
from build.settings import Compression, Method
from shelfbridge.errors import ArtefactError

SENSED = 6
"""One batch in so many is not calibrated on: the layers are compared by it where the budget is broken."""
Judge = Callable[[Any], float]
"""Mean nDCG@10 with a session in the network's place."""


@dataclass(frozen=True)
class Trial:
    """One way to quantise, and the nDCG@10 it gave."""

    method: Method
    kept: tuple[str, ...]
    ndcg: float


def compress(
    folder: Path, *, network: Network, graph: Path, feeds: Path, chosen: Compression, judge: Judge, console: Console
) -> None:
    """Write `fp32.onnx`, `model.onnx`, and as settings have it `int8.onnx` and `fp16.onnx`.

    Args:
        folder: to write to.
        network: which one it is.
        graph: folder of its fp32 `model.onnx`.
        feeds: folder of the calibration's batches.
        chosen: what is wanted.
        judge: of a session in its place.
        console: for the progress.

    Raises:
        ArtefactError: no way of calibration gives a file that can be used.
    """
    source, batches = graph / "model.onnx", feeds_of(feeds, network)
    unseen = batches[::SENSED]
    hard_link(source, folder / "fp32.onnx")
    record: dict[str, Any] = {"network": network, "fp32": judge(session(source)), "trials": []}
    if chosen.half:
        fp16.halve(folder, graph=source, feeds=batches)
    if chosen.precision == "fp32":
        hard_link(source, folder / "model.onnx")
    elif network == "ranker":
        quantise_ranker(folder, graph=source, feeds=batches)
    else:
        calibrating = [batch for place, batch in enumerate(batches) if place % SENSED]
        tried: dict[Trial, Path] = {}

        def attempt(method: Method, kept: tuple[str, ...] = ()) -> None:
            place = folder / f".{method}-{len(kept)}"
            place.mkdir()
            try:
                quantise(place, graph=source, feeds=calibrating, method=method, keep=kept, console=console)
            except ArtefactError as error:
                shutil.rmtree(place)
                refused.append(error)
            else:
                tried[Trial(method, kept, judge(session(place / "model.onnx")))] = place

        refused: list[ArtefactError] = []
        for method in chosen.methods:
            attempt(method)
        if not tried:
            raise refused[-1]
        best = max(tried, key=lambda trial: trial.ndcg)
        if record["fp32"] - best.ndcg > chosen.budget:
            master = tried[best] / "int8.onnx"
            report = sensitivity.measure(source, master, unseen, console=console)
            kept, _ = sensitivity.choose(report, chosen.most_error, graph=source, master=master, feeds=unseen)
            sensitivity.write(folder, report, kept)
            if kept:
                attempt(best.method, tuple(kept))
                best = max(tried, key=lambda trial: trial.ndcg)
        for name in ("int8.onnx", "model.onnx"):
            (tried[best] / name).rename(folder / name)
        for place in tried.values():
            shutil.rmtree(place)
        record |= {"trials": [asdict(trial) for trial in tried], "chosen": asdict(best)}
        console.print(
            f"  {network}: {best.method}, {len(best.kept)} layers in floating point; "
            f"nDCG@10 {record['fp32']:.4f} -> {best.ndcg:.4f}",
            highlight=False,
        )
    (folder / "compression.json").write_text(json.dumps(record, indent=2) + "\n")
