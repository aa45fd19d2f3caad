"""Which of a release's graphs NVIDIA's parser and builder take, on a machine without a GPU.

    python -m build.engines check out/releases/current

Every master (fp32, fp16, int8, and the graph that products were encoded with) is held against the table of
`build/engines/operators.toml`, then parsed and built by TensorRT-RTX (`make rtx` installs it) with the optimization
profiles that `make engines` would give it. The CPU's int8 files must be refused, for their zero-points. The
command ends with 1 where a graph is not judged as it should be.

It proves that NVIDIA's parser knows every operator and type, that the profiles fit the inputs, and that a builder makes
an engine of it. It does not prove that TensorRT's own builder does, whose parser is near to TensorRT-RTX's but not the
same, nor says it anything of an engine's answers or speed: nothing is run. `make engines`, on a GPU, shows these.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from rich.console import Console

from build.engines import api, buckets, configs
from build.engines.buckets import Profile
from build.engines.builder import Network, Options
from build.engines.operators import table_faults
from build.engines.publishing import MODELS, OF_SHELF
from build.release.publish import PRODUCT_ENCODER
from shelfbridge import contract
from shelfbridge.errors import ArtefactError, ShelfbridgeError
from shelfbridge.release import read_manifest

NO_RTX = "TensorRT-RTX is not installed (make rtx): only the table of operators was asked."


@dataclass(frozen=True)
class Graph:
    """A graph of a release, and whether NVIDIA should take it."""

    model: str
    file: Path
    profiles: tuple[Profile, ...]
    wanted: bool


@dataclass(frozen=True)
class Verdict:
    """What was said of a graph: by the table and by the parser and builder, None where there is nothing against it."""

    graph: Graph
    by_table: str | None
    by_nvidia: str | None
    layers: int | None = None
    """Of the network as parsed; None where it was not."""
    seconds: float | None = None
    """That building took."""

    @property
    def as_wanted(self) -> bool:
        """Whether both judged it as they should."""
        return self.graph.wanted == (self.by_table is None and self.by_nvidia is None)


def graphs(release: Path) -> Iterator[Graph]:
    """Yield all graphs of a release.

    Raises:
        ArtefactError: it is no release, or has no histograms of lengths.
    """
    manifest = read_manifest(release)
    lengths = buckets.with_events(buckets.read_lengths(release / "lengths.json"), manifest)
    for name in MODELS + OF_SHELF:
        folder = release / name / str(manifest["release"])
        if not folder.is_dir():
            continue
        batch = configs.max_batch(release / name / "config.pbtxt")
        profiles = buckets.profiles(contract.MODELS[name], lengths, batch)
        for file in sorted(folder.glob("*.onnx")):
            # The CPU's file is fp32's itself, or its int8 form
            served = file.name == "model.onnx"
            if not served or file.read_bytes() != (folder / "fp32.onnx").read_bytes():
                yield Graph(name, file, profiles, wanted=not served)
        if name == "encoder" and (release / PRODUCT_ENCODER).is_file():
            yield Graph("product encoder", release / PRODUCT_ENCODER, profiles, wanted=True)


def judge(graph: Graph, trt: ModuleType | None, console: Console) -> Verdict:
    """Ask the table, and NVIDIA's parser and builder where they are there."""
    by_table = table_faults(graph.file)
    if trt is None:
        return Verdict(graph, by_table, None)
    begun, layers = time.monotonic(), None
    try:
        network = Network.parsed(trt, graph.file)
        layers = int(network.definition.num_layers)
        network.serialised(graph.profiles, Options(), console=console)
    except ArtefactError as error:
        return Verdict(graph, by_table, str(error), layers)
    return Verdict(graph, by_table, None, layers, time.monotonic() - begun)


def markdown(verdicts: list[Verdict], trt: ModuleType | None) -> str:
    """Return the verdicts as people read them."""
    by = "TensorRT-RTX" if trt is None else f"TensorRT-RTX {trt.__version__}"
    lines = [f"| graph | table | {by} | layers | profiles | s | as it should be |", "|---|---|---|---|---|---|---|"]
    for one in verdicts:
        asked = "refused" if one.by_nvidia else "not asked" if trt is None else "taken"
        lines.append(
            f"| {one.graph.model}: {one.graph.file.name} | {'refused' if one.by_table else 'taken'} | {asked} "
            f"| {one.layers or ''} | {len(one.graph.profiles)} | {'' if one.seconds is None else f'{one.seconds:.1f}'} "
            f"| {'yes' if one.as_wanted else 'NO'} |"
        )
    said = [
        f"- {one.graph.model}: {one.graph.file.name}: {reason}"
        for one in verdicts
        for reason in (one.by_table, one.by_nvidia)
        if reason and not one.as_wanted
    ]
    return "\n".join([*lines, *(["", *said] if said else []), *(["", NO_RTX] if trt is None else [])]) + "\n"


def main(arguments: list[str]) -> None:
    """Run the command line `python -m build.engines check`."""
    line = argparse.ArgumentParser(
        prog="python -m build.engines check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    line.add_argument("release", type=Path, help="folder of a release, …/current")
    console, trt = Console(), api.tensorrt_rtx()
    try:
        release = line.parse_args(arguments).release.resolve()
        verdicts = [judge(graph, trt, console) for graph in graphs(release)]
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error
    console.print(markdown(verdicts, trt), highlight=False, markup=False, soft_wrap=True)
    wrong = [one for one in verdicts if not one.as_wanted]
    if wrong:
        raise SystemExit(f"error: {len(wrong)} of {len(verdicts)} graphs are not judged as they should be")
