"""Which Python functions the server's time goes to, by sampling its processes with py-spy.

py-spy reads the stacks of a running process from outside, so the server runs as it always does; it needs the right to
trace it (ptrace), which containers often withhold.
"""

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from shelfbridge.errors import PrerequisiteError

RATE = 200
"""Samples a second and process."""
Shares = dict[tuple[str, str], float]
"""By part and function: its own share of its part's samples; C code counts for the Python function that called it."""


@contextmanager
def sampling(processes: Mapping[int, str], seconds: float) -> Iterator[Callable[[], Shares]]:
    """Run py-spy on some processes, for some seconds from now on.

    Args:
        processes: process ids, each with the part of the server that it is.
        seconds: how long to sample.

    Yields:
        What waits for the end and returns the shares; those of a part add up to 1. It raises PrerequisiteError where
        not one process could be sampled.

    Raises:
        PrerequisiteError: py-spy is not installed.
    """
    beside = Path(sys.executable).parent / "py-spy"
    program = str(beside) if beside.exists() else shutil.which("py-spy")
    if program is None:
        raise PrerequisiteError("py-spy is not installed; run pip install py-spy")
    options = ["--format", "raw", "--function", "--rate", str(RATE), "--duration", str(max(1, round(seconds)))]
    with tempfile.TemporaryDirectory() as folder:
        files = {pid: Path(folder) / str(pid) for pid in processes}
        running = {
            pid: subprocess.Popen(
                [program, "record", *options, "--pid", str(pid), "--output", str(file)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for pid, file in files.items()
        }

        def shares() -> Shares:
            own: Counter[tuple[str, str]] = Counter()
            complaints = []
            for pid, process in running.items():
                _, said = process.communicate()
                if files[pid].is_file():
                    counted = self_samples(files[pid].read_text().splitlines())
                    own.update({(processes[pid], function): count for function, count in counted.items()})
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
            return {(part, function): count / totals[part] for (part, function), count in own.items()}

        try:
            yield shares
        finally:
            for process in running.values():
                with process:
                    process.kill()


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
