"""`engine_report.json` and `.md`, with `tensorrt.log`: what to send back from a machine with a GPU."""

import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from build.engines.api import LOG
from build.engines.quality import Table as Quality
from shelfbridge.errors import SettingsError
from shelfbridge.measure import report as measured
from shelfbridge.measure.report import MEAN, Cell, Table, cell

TOOLS = ("torch", "onnx", "onnxruntime", "numpy")
NOTE = (
    "Timings are of eager launches, without the copies to and from the GPU; Triton replays CUDA graphs for the likely "
    "shapes. An int8 master keeps the layers that are not quantised in fp32, and so does its engine: compare with fp16 "
    "before choosing."
)

CORNERS: dict[str, Cell] = {
    "engine": "{engine}",
    "precision": "{precision}",
    "MB": "{plan_mb}",
    "build, s": "{build_seconds}",
    "profile": "{profile}",
    "corner": "{corner}",
    "batch": lambda row: str(next(iter(row["shapes"].values()))[0]),
    "difference": "{difference:.4f}",
    "median, ms": "{median_ms:.3f}",
    "p99, ms": "{p99_ms:.3f}",
}
"""Columns of what was seen of each engine; what was not measured is left empty."""
STAGES: dict[str, Cell] = {
    "stage": "{stage}",
    "fp32": lambda row: cell(MEAN, row["fp32"]),
    "ONNX masters": lambda row: cell(MEAN, row["master"]),
    "engines": lambda row: cell(MEAN, row["engine"]),
    "masters - fp32 (p)": "{master[over_fp32]:+.4f} ({master[p]:.3f})",
    "engines - fp32 (p)": "{engine[over_fp32]:+.4f} ({engine[p]:.3f})",
}


@dataclass
class Report:
    """What was seen so far; written when the outcome is known."""

    folder: Path
    tensorrt: str | None = None
    """Version; None where it was not found."""
    gpu: dict[str, str] | None = None
    """Name and compute capability; None where none was found."""
    split: str | None = None
    queries: int = 0
    engines: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By model, what is told of its engine (`build.engines.stage.told`)."""
    quality: Quality | None = None
    """None where no judgments were given."""

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Write down whatever ends the work within, Ctrl-C too, and what TensorRT says meanwhile.

        Raises:
            SettingsError: the folder cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            log = logging.FileHandler(self.folder / "tensorrt.log", mode="w")
        except OSError as error:
            raise SettingsError(
                f"{self.folder} cannot be written to ({error.strerror}); choose another folder for the report (--out)"
            ) from error
        log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        LOG.addHandler(log)
        try:
            yield
        except BaseException as error:
            self.write(refused=f"{type(error).__name__}: {error}")
            raise
        finally:
            LOG.removeHandler(log)
            log.close()

    def tools(self) -> dict[str, str | None]:
        """What builds and checks the engines."""
        return {
            "tensorrt": self.tensorrt,
            "python": platform.python_version(),
            **{name: version(name) for name in TOOLS},
        }

    def write(self, *, release: int | None = None, refused: str | None = None) -> None:
        """Write both files."""
        record = {
            "release": release,
            "refused": refused,
            "tools": self.tools(),
            "gpu": self.gpu,
            "engines": self.engines,
            "split": self.split,
            "queries": self.queries,
            "quality": self.quality,
        }
        gpu = self.gpu or {"name": "no GPU", "compute_capability": "none"}
        outcome = f"Refused: {refused}" if refused else f"Published as release {release}."
        seen = [{"engine": name, **one, **corner} for name, one in self.engines.items() for corner in one["checks"]]
        blocks: list[str | Table] = [
            f"TensorRT {self.tensorrt or 'not found'} on {gpu['name']} (compute capability "
            f"{gpu['compute_capability']}). {outcome}",
            NOTE,
            Table.of(CORNERS, seen),
        ]
        if self.quality is None:
            blocks.append("nDCG@10 was not measured.")
        else:
            blocks.append(
                f"nDCG@10 of {self.queries} {self.split} queries, mean [95 % interval]; differences to fp32 are "
                "paired. `ranked` and `deep` are what is served, and what counts."
            )
            blocks.append(Table.of(STAGES, [{"stage": stage, **row} for stage, row in self.quality.items()]))
        measured.Report("engine_report", record, blocks).write(self.folder)
