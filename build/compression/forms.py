"""One network, from its fp32 graph to all the forms that are served: int8 and fp16, and the file for the CPU.

How ranges are calibrated is chosen by nDCG@10 of queries that are not calibrated on. Where the best choice still costs
more than the budget, the layers that lose most stay in floating point. `compression.json` says what was tried.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from build.compression import fp16, sensitivity
from build.compression.calibration import feeds_of
from build.compression.fidelity import Feed
from build.compression.quantise import quantise, quantise_ranker
from build.engines.operators import judges
from build.evaluation.offline import Network, session
from build.release.publish import hard_link
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

    Where no way of calibration gives a file that can be used, there is no `int8.onnx`, `model.onnx` is in fp32, and the
    record says why under `refused`.
    """
    source, batches = graph / "model.onnx", feeds_of(feeds, network)
    hard_link(source, folder / "fp32.onnx")
    record: dict[str, Any] = {"network": network, "parsed_by": judges(), "fp32": judge(session(source))}
    if chosen.half:
        fp16.halve(folder, graph=source, feeds=batches)
    if chosen.precision == "fp32":
        hard_link(source, folder / "model.onnx")
    elif network == "ranker":
        quantise_ranker(folder, graph=source, feeds=batches)
    else:
        trials = Trials(folder, source, batches, judge, console)
        try:
            best = trials.best(chosen, record["fp32"])
        except ArtefactError as error:
            hard_link(source, folder / "model.onnx")
            record["refused"], told = str(error), f"no int8 form can be used ({error})"
        else:
            record |= trials.keep(best)
            told = f"{best.method}, {len(best.kept)} layers in floating point"
            told += f"; nDCG@10 {record['fp32']:.4f} -> {best.ndcg:.4f}"
        console.print(f"  {network}: {told}", highlight=False, soft_wrap=True)
    (folder / "compression.json").write_text(json.dumps(record, indent=2) + "\n")


@dataclass
class Trials:
    """Ways to quantise one graph, each in a folder of its own."""

    folder: Path
    graph: Path
    batches: list[Feed]
    judge: Judge
    console: Console
    made: dict[Trial, Path] = field(default_factory=dict)
    refused: list[ArtefactError] = field(default_factory=list)

    def best(self, chosen: Compression, original: float) -> Trial:
        """The trial of most nDCG@10, with layers in floating point where the budget is broken without.

        Raises:
            ArtefactError: no method gives a file that can be used.
        """
        for method in chosen.methods:
            self.attempt(method)
        if not self.made:
            raise self.refused[-1]
        best = self._leading()
        broken = original - best.ndcg > chosen.budget
        if broken or chosen.sensitivity:
            master, unseen = self.made[best] / "int8.onnx", self.batches[::SENSED]
            found = sensitivity.measure(self.graph, master, unseen, most_loss=chosen.most_error, console=self.console)
            sensitivity.write(self.folder, found)
            if broken and found.kept:
                self.attempt(best.method, found.kept)
        return self._leading()

    def attempt(self, method: Method, kept: tuple[str, ...] = ()) -> None:
        """Quantise so and judge it; a file that cannot be used is remembered as refused."""
        place = self.folder / f".{method}-{len(kept)}"
        place.mkdir()
        calibrating = [batch for number, batch in enumerate(self.batches) if number % SENSED]
        try:
            quantise(place, graph=self.graph, feeds=calibrating, method=method, keep=kept, console=self.console)
            trial = Trial(method, kept, self.judge(session(place / "model.onnx")))
        except ArtefactError as error:
            shutil.rmtree(place)
            self.refused.append(error)
        else:
            self.made[trial] = place

    def keep(self, best: Trial) -> dict[str, Any]:
        """Put the files of the best one into the folder, delete the others, and return what is recorded."""
        for name in ("int8.onnx", "model.onnx"):
            (self.made[best] / name).rename(self.folder / name)
        for place in self.made.values():
            shutil.rmtree(place)
        return {"trials": [asdict(trial) for trial in self.made], "chosen": asdict(best)}

    def _leading(self) -> Trial:
        return max(self.made, key=lambda trial: trial.ndcg)
