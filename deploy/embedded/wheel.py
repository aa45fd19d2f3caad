"""The real tritonserver out of the nvidia-pytriton wheel, or of another folder: where its parts lie, and the command
that starts it.

The wheel carries the server and the Python backend only. A backend folder is put together of the wheel's Python
backend with the stub of this Python version, and our backends in Python. The parts are copied:
Triton refuses a backend library that is a link to outside its folder.
"""

import hashlib
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from deploy import ROOT
from deploy.embedded.settings import EmbeddedSettings
from deploy.prerequisites import libpython_folder
from deploy.repository import tritonserver
from shelfbridge.door import METRICS
from shelfbridge.errors import PrerequisiteError
from shelfbridge.profiles import access

PROGRAM = "bin/tritonserver"
STUB = "triton_python_backend_stub"
STANDINS = Path(__file__).parent / "backends"
SHARED_MEMORY_FOLDER = Path("/dev/shm")


def packages() -> Path:
    """The folder that holds the wheel's packages.

    Raises:
        PrerequisiteError: the wheel is not installed.
    """
    spec = find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise PrerequisiteError("nvidia-pytriton is not installed; run pip install 'shelfbridge[serve]'")
    return Path(spec.origin).parents[1]


def triton(settings: EmbeddedSettings) -> Path:
    """The folder of Triton's parts.

    Raises:
        PrerequisiteError: the wheel is not installed, or the other folder holds no Triton.
    """
    if settings.triton is None:
        return packages() / "pytriton/tritonserver"
    if not (settings.triton / PROGRAM).is_file():
        raise PrerequisiteError(f"{settings.triton} holds no {PROGRAM}; give --triton the folder of a Triton, or none")
    return settings.triton.resolve()


def make_backends(settings: EmbeddedSettings, folder: Path) -> None:
    """Fill a backend folder.

    Raises:
        PrerequisiteError: the wheel is not installed, or there is no stub for this Python.
    """
    python = triton(settings) / "backends/python"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    own = triton(settings) / "python_backend_stubs" / version / STUB
    stub = own if settings.triton is None else python / STUB
    if not stub.is_file():
        raise PrerequisiteError(f"the embedded server has no Python backend for Python {version}; use 3.11 or 3.12")
    parts = [stub, *python.glob("*.*")]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(STANDINS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "python").mkdir()
    for part in parts:
        shutil.copy(part, folder / "python")


def shared_memory_prefix(run_dir: Path) -> str:
    """Name prefix of a server's regions in /dev/shm: its own, so that those of a killed one can be told apart."""
    return f"shelfbridge-{hashlib.sha1(str(run_dir.resolve()).encode()).hexdigest()[:12]}-"


def remove_shared_memory(run_dir: Path) -> None:
    """Remove what a server that has ended left in /dev/shm."""
    for region in SHARED_MEMORY_FOLDER.glob(f"{shared_memory_prefix(run_dir)}*"):
        region.unlink(missing_ok=True)


def command(settings: EmbeddedSettings, models: Path, backends: Path) -> list[str]:
    """The command line of the server."""
    shared_memory = f"shm-region-prefix-name={shared_memory_prefix(settings.run_dir)}"
    return [
        *tritonserver(str(triton(settings) / PROGRAM), models, "cpu", settings.query_cache),
        f"--backend-directory={backends}",
        f"--backend-config=python,{shared_memory}",
        f"--backend-config=onnxruntime,{shared_memory}",
        f"--cache-directory={triton(settings) / 'caches'}",
        f"--grpc-address={settings.host}",
        f"--grpc-port={settings.grpc_port}",
        f"--http-address={settings.host}",
        f"--http-port={settings.http_port}",
        f"--metrics-address={settings.host}",
        f"--metrics-port={settings.metrics_port}",
        f"--exit-timeout-secs={settings.exit_timeout}",
        *settings.extra,
    ]


def environment(settings: EmbeddedSettings) -> dict[str, str]:
    """The server's environment: this Python and its packages for the steps, Triton's libraries for the loader, and
    where profiles and metrics are.
    """

    def first(*values: str, name: str) -> str:
        return os.pathsep.join(value for value in (*values, os.environ.get(name, "")) if value)

    libraries = str(settings.triton / "lib" if settings.triton else packages() / "nvidia_pytriton.libs")
    here = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host
    return {
        **os.environ,
        "PATH": first(str(Path(sys.executable).parent), name="PATH"),
        "PYTHONPATH": first(str(ROOT), name="PYTHONPATH"),
        # The steps are processes that share the cores; the model's own threads are set in its config
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        METRICS: f"http://{here}:{settings.metrics_port}/metrics",
        access.PROFILES: settings.store,
        access.KEY_FILE: str(settings.key),
        access.USER_TOKENS: settings.user_tokens,
        access.RETENTION: str(settings.retention_days),
        "LD_LIBRARY_PATH": first(libraries, libpython_folder() or "", name="LD_LIBRARY_PATH"),
    }
