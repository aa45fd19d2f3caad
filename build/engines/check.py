"""Which of a release's graphs NVIDIA's parser and builder take, on a machine without a GPU.

    python -m build.engines check out/releases/current

Every master (fp32, fp16, int8, and the graph that products were encoded with) is held against the table of
`build/engines/operators.toml`, then parsed and built by TensorRT-RTX (`make rtx` installs it) with the optimization
profiles that `make engines` would give it. The CPU's int8 files must be refused, for their zero-points. The
command ends with 1 where a graph is not judged as it should be. In a release's place an ONNX file can stand: it is
parsed alone.

It proves that NVIDIA's parser knows every operator and type, that the profiles fit the inputs, and that a builder makes
an engine of it. It does not prove that TensorRT's own builder does, whose parser is near to TensorRT-RTX's but not the
same, nor says it anything of an engine's answers or speed: nothing is run. `make engines`, on a GPU, shows these.
"""

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
from shelfbridge.measure.report import Cell, Table, markdown
from shelfbridge.program import command_line
from shelfbridge.release import read_manifest

NO_RTX = "TensorRT-RTX is not installed (make rtx): only the table of operators was asked."


@dataclass(frozen=True)
class Graph:
    """A graph of a release, and whether NVIDIA should take it."""

    model: str
    file: Path
    profiles: tuple[Profile, ...] = ()
    """Without any it is parsed and not built."""
    wanted: bool = True


@dataclass(frozen=True)
class Verdict:
    """What was said of a graph: by the table and by the parser and builder, None where there is nothing against it."""

    graph: Graph
    by_table: str | None
    by_nvidia: str | None = None
    layers: int | None = None
    """Of the network as parsed; None where it was not."""
    seconds: float | None = None
    """That building took."""

    @property
    def name(self) -> str:
        """The graph's."""
        return f"{self.graph.model}: {self.graph.file.name}"

    @property
    def as_wanted(self) -> bool:
        """Whether both judged it as they should."""
        return self.graph.wanted == (self.by_table is None and self.by_nvidia is None)


def graphs(release: Path) -> Iterator[Graph]:
    """Yield all graphs of a release; of a file, that one alone.

    Raises:
        ArtefactError: it is no release, or has no histograms of lengths.
    """
    if release.is_file():
        yield Graph(release.parent.name, release)
        return
    manifest = read_manifest(release)
    lengths = buckets.read_lengths(release)
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
            yield Graph("product encoder", release / PRODUCT_ENCODER, profiles)


def judge(graph: Graph, trt: ModuleType | None, console: Console) -> Verdict:
    """Ask the table, and NVIDIA's parser and builder where they are there."""
    by_table = table_faults(graph.file)
    if trt is None:
        return Verdict(graph, by_table)
    begun, layers = time.monotonic(), None
    try:
        network = Network.parsed(trt, graph.file)
        layers = int(network.definition.num_layers)
        if graph.profiles:
            network.serialised(graph.profiles, Options(), console=console)
    except ArtefactError as error:
        return Verdict(graph, by_table, str(error), layers)
    return Verdict(graph, by_table, None, layers, time.monotonic() - begun)


def report(verdicts: list[Verdict], trt: ModuleType | None) -> str:
    """Return the verdicts as people read them."""
    asked = {True: "refused", False: "taken"}
    columns: dict[str, Cell] = {
        "graph": lambda one: one.name,
        "table": lambda one: asked[one.by_table is not None],
        f"TensorRT-RTX {'' if trt is None else trt.__version__}".strip(): lambda one: (
            "not asked" if trt is None else asked[one.by_nvidia is not None]
        ),
        "layers": "{layers}",
        "profiles": lambda one: str(len(one.graph.profiles)),
        "s": "{seconds:.1f}",
        "as it should be": lambda one: "yes" if one.as_wanted else "NO",
    }
    reasons = [
        f"- {one.name}: {reason}"
        for one in verdicts
        for reason in (one.by_table, one.by_nvidia)
        if reason and not one.as_wanted
    ]
    return markdown([Table.of(columns, verdicts), "\n".join(reasons), NO_RTX if trt is None else ""])


def main(arguments: list[str]) -> None:
    """Run the command line `python -m build.engines check`."""
    line = command_line("build.engines check", __doc__)
    line.add_argument("release", type=Path, help="folder of a release, …/current, or an ONNX file")
    release = line.parse_args(arguments).release.resolve()
    console, trt = Console(), api.tensorrt_rtx()
    try:
        verdicts = [judge(graph, trt, console) for graph in graphs(release)]
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error
    console.print(report(verdicts, trt), highlight=False, markup=False, soft_wrap=True)
    wrong = [one for one in verdicts if not one.as_wanted]
    if wrong:
        raise SystemExit(f"error: {len(wrong)} of {len(verdicts)} graphs are not judged as they should be")
