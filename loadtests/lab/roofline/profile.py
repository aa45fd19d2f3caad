"""Which Python functions the server's time goes to, by sampling its processes with py-spy.

py-spy reads the stacks of a running process from outside, so the server runs as it always does; it needs the right to
trace it (ptrace), which containers often withhold.
"""

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shelfbridge.errors import PrerequisiteError

RATE = 200
"""Samples a second and process."""


@dataclass(frozen=True)
class Row:
    """A function's own share of its process's samples; C code counts for the Python function that called it."""

    part: str
    function: str
    share: float


class Sampler:
    """py-spy on some processes, for some seconds from now on; it ends with its context.

    Args:
        processes: process ids, each with the part of the server that it is.
        seconds: how long to sample.

    Raises:
        PrerequisiteError: py-spy is not installed.
    """

    def __init__(self, processes: dict[int, str], seconds: float) -> None:
        beside = Path(sys.executable).parent / "py-spy"
        program = str(beside) if beside.exists() else shutil.which("py-spy")
        if program is None:
            raise PrerequisiteError("py-spy is not installed; run pip install py-spy")
        self._folder = tempfile.TemporaryDirectory()
        self._parts = processes
        options = ["--format", "raw", "--function", "--rate", str(RATE), "--duration", str(max(1, round(seconds)))]
        self._running = {
            pid: subprocess.Popen(
                [program, "record", *options, "--pid", str(pid), "--output", str(self._file(pid))],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for pid in processes
        }

    def rows(self) -> list[Row]:
        """Wait for the end; functions of all processes, the shares of a part's add up to 1.

        Raises:
            PrerequisiteError: not one process could be sampled.
        """
        own: Counter[tuple[str, str]] = Counter()
        complaints = []
        for pid, running in self._running.items():
            _, said = running.communicate()
            if self._file(pid).is_file():
                for function, count in self_samples(self._file(pid).read_text().splitlines()).items():
                    own[self._parts[pid], function] += count
            else:
                complaints += [line for line in said.splitlines() if line.strip()][:1]
        if complaints and not own:
            raise PrerequisiteError(
                f"py-spy cannot read the server's processes ({complaints[0]}); run as their user, and where "
                "containers forbid it allow ptrace (--cap-add SYS_PTRACE)"
            )
        totals: Counter[str] = Counter()
        for (part, _), count in own.items():
            totals[part] += count
        return [Row(part, function, count / totals[part]) for (part, function), count in own.items()]

    def __enter__(self) -> "Sampler":
        return self

    def __exit__(self, *_: object) -> None:
        for running in self._running.values():
            with running:
                running.kill()
        self._folder.cleanup()

    def _file(self, pid: int) -> Path:
        return Path(self._folder.name) / str(pid)


def self_samples(stacks: Sequence[str]) -> Counter[str]:
    """Samples by the innermost function, from lines "outermost;…;innermost count".

    A line without a function is a process of the server that waits for work outside Python.
    """
    own: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        if stack:
            own[stack.rpartition(";")[2]] += int(count)
    return own
