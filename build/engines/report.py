"""`engine_report.json` and `.md`: what to send back from a machine with a GPU."""

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from build.engines.stage import CHECKS, Bench
from shelfbridge.engine import PLAN, RECORD
from shelfbridge.errors import ShelfbridgeError

TOOLS = ("torch", "onnx", "onnxruntime", "numpy")


@dataclass
class Report:
    """What was seen so far; written once, when the outcome is known."""

    folder: Path
    bench: Bench
    split: str | None = None
    queries: int = 0
    engines: dict[str, Path] = field(default_factory=dict)
    """By model, the folder of the stage that built its engine."""
    quality: dict[str, Any] | None = None
    """Figures by stage; None where no judgments were given."""

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Where what is raised on purpose is also written down."""
        try:
            yield
        except ShelfbridgeError as error:
            self.write(refused=str(error))
            raise

    def write(self, *, release: int | None = None, refused: str | None = None) -> None:
        """Write both files."""
        record = {
            "release": release,
            "refused": refused,
            "tools": {
                "tensorrt": self.bench.trt.__version__,
                "python": platform.python_version(),
                **{name: version(name) for name in TOOLS},
            },
            "gpu": {"name": self.bench.device.name, "compute_capability": self.bench.device.compute_capability},
            "engines": {
                name: {
                    "plan_mb": round((folder / PLAN).stat().st_size / 1e6, 1),
                    **json.loads((folder / RECORD).read_text()),
                    "checks": json.loads((folder / CHECKS).read_text()),
                }
                for name, folder in self.engines.items()
            },
            "split": self.split,
            "queries": self.queries,
            "quality": self.quality,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "engine_report.json").write_text(json.dumps(record, indent=2) + "\n")
        (self.folder / "engine_report.md").write_text(markdown(record))


def markdown(record: dict[str, Any]) -> str:
    """The record as people read it."""
    outcome = f"Refused: {record['refused']}" if record["refused"] else f"Published as release {record['release']}."
    lines = [
        f"TensorRT {record['tools']['tensorrt']} on {record['gpu']['name']} "
        f"(compute capability {record['gpu']['compute_capability']}). {outcome}",
        "",
        "| engine | precision | MB | build, s | profile | corner | batch | difference | median, ms | p99, ms |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, engine in record["engines"].items():
        for seen in engine["checks"]:
            batch = next(iter(seen["shapes"].values()))[0]
            lines.append(
                f"| {name} | {engine['precision']} | {engine['plan_mb']} | {engine['build_seconds']} "
                f"| {seen['profile']} | {seen['corner']} | {batch} | {seen['difference']:.4f} "
                f"| {seen['median_ms']:.3f} | {seen['p99_ms']:.3f} |"
            )
    return "\n".join([*lines, *_quality(record)]) + "\n"


def _quality(record: dict[str, Any]) -> list[str]:
    if record["quality"] is None:
        return ["", "nDCG@10 was not measured: no judgments were given."]
    lines = [
        "",
        f"nDCG@10 of {record['queries']} {record['split']} queries, mean [95 % interval]; the difference is paired.",
        "",
        "| stage | ONNX masters | engines | difference (p) |",
        "|---|---|---|---|",
    ]
    for stage, row in record["quality"].items():
        master, engine = row["master"], row["engine"]
        lines.append(
            f"| {stage} | {_interval(master)} | {_interval(engine)} "
            f"| {engine['over_lexical']:+.4f} ({engine['p']:.3f}) |"
        )
    return lines


def _interval(figure: dict[str, float]) -> str:
    return f"{figure['mean']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
