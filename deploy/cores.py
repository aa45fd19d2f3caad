"""How many cores this process may use: by the machine, by its affinity, and by the limits of its cgroup."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cores(root: Path = CGROUP, own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the number of cores, at least 1; a limit of 1.5 cores counts as 2."""
    allowed = float(len(os.sched_getaffinity(0)))
    for folder in _folders(root, own):
        limit = _limit(folder)
        if limit is not None:
            allowed = min(allowed, limit)
    return max(1, int(allowed + 0.5))


def _folders(root: Path, own: Path) -> list[Path]:
    """Return the process's cgroup and those around it, each of which may set a limit."""
    found = [root, root / "cpu"]
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, path = line.split(":", 2)
        home = root / "cpu" if "cpu" in controllers.split(",") else root
        if controllers == "" or "cpu" in controllers.split(","):
            parts = [part for part in path.split("/") if part and part != ".."]
            found += [home.joinpath(*parts[: count + 1]) for count in range(len(parts))]
    return found


def _limit(folder: Path) -> float | None:
    """Return the cores that a cgroup allows, by version 2 or 1; None for no limit."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        allowed = int((folder / "cpu.cfs_quota_us").read_text())
        return None if allowed <= 0 else allowed / int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
