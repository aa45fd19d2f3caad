"""What figures are measured on."""

import os
import platform
from pathlib import Path
from typing import Any

CORES = len(os.sched_getaffinity(0))
"""That this process, and what it starts, may use."""


def machine() -> dict[str, Any]:
    """Processor, cores, memory in GB, kernel, Python."""
    processor = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = next((int(line.split()[1]) / 2**20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "processor": processor,
        "cores": CORES,
        "memory_gb": round(memory, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
