"""An environment for each peer: their requirements contradict each other's and ours.

The pinned files in `requirements/` come from `uv pip compile`. An environment is kept for the next run as long as its
file is the same.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from shelfbridge.errors import PrerequisiteError

REQUIREMENTS = Path(__file__).parent / "requirements"
_DONE = "installed"


def environment(name: str, folder: Path, console: Console) -> Path:
    """The Python of an environment that holds `requirements/<name>.txt`, made in `folder` where it is not there yet.

    Raises:
        PrerequisiteError: a package cannot be had.
    """
    file = REQUIREMENTS / f"{name}.txt"
    digest = hashlib.sha256(file.read_bytes() + sys.version.encode()).hexdigest()[:12]
    home = folder / f"{name}-{digest}"
    python = home / "bin" / "python"
    if (home / _DONE).exists():
        return python.absolute()
    shutil.rmtree(home, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    with console.status(f"{name}: installing {len(pins(name))} packages"):
        _uv("venv", "--python", sys.executable, str(home), name=name)
        _uv("pip", "install", "--python", str(python), "--requirement", str(file), name=name)
    (home / _DONE).touch()
    return python.absolute()


def pins(name: str) -> dict[str, str]:
    """Version by package of a peer's environment."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def uv_variables(given: Mapping[str, str]) -> dict[str, str]:
    """uv's own names for what pip may have been told: a folder of wheels, a mirror. PyTorch is the CPU's."""
    found = dict(given)
    if links := given.get("PIP_FIND_LINKS"):
        found.setdefault("UV_FIND_LINKS", ",".join(links.split()))
    else:
        found.setdefault("UV_TORCH_BACKEND", "cpu")
    if index := given.get("PIP_INDEX_URL"):
        found.setdefault("UV_DEFAULT_INDEX", index)
    return found


def _uv(*arguments: str, name: str) -> None:
    uv = Path(sys.executable).parent / "uv"
    command = [str(uv) if uv.exists() else "uv", *arguments]
    try:
        subprocess.run(command, env=uv_variables(os.environ), check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise PrerequisiteError("uv is not installed; make install brings it") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no reason given"])[-1].strip()
        raise PrerequisiteError(
            f"{name}: its environment cannot be installed ({last}); see to the package index and run again"
        ) from error
