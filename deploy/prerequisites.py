"""What a machine must have before anything long is started on it: each lack with its cause and its cure.

Run by itself (`python -m deploy.prerequisites`) it needs the standard library only, and it keeps to the syntax of
Python 3.6, so that an old Python is told that it is old rather than shown a SyntaxError.
"""
# ruff: noqa: UP006, UP035, UP045

import ctypes
import ctypes.util
import os
import platform
import shutil
import socket
import sys
import sysconfig
from typing import Dict, Iterable, List, Optional, Tuple

PYTHONS = ((3, 11), (3, 12))
"""Versions that both this project and the embedded server's Python backend run on."""
GLIBC = (2, 35)
"""What the embedded server's binaries were linked against."""
GIGABYTE = 1024**3
INSTALL_DISK = 8 * GIGABYTE
"""Environment, data and a release with its working files."""
INSTALL_MEMORY = 4 * GIGABYTE
SHARED_MEMORY = 512 * 1024**2
"""For the tensors between the steps: the candidates of 64 queries take 105 MB at each end of their way."""


def check_platform(system: str = sys.platform, machine: str = platform.machine()) -> Optional[str]:
    """Linux on x86-64 with a recent C library."""
    if system != "linux" or machine != "x86_64":
        return f"This is {system} on {machine}, but the embedded server is for Linux on x86_64. Use the container."
    name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    if name != "glibc":
        return "The C library is not glibc, which the embedded server needs. Use the container."
    if tuple(int(part) for part in version.split(".")[:2]) < GLIBC:
        return "The C library is glibc {}, but the embedded server needs {}.{}. Use a newer distribution.".format(
            version, *GLIBC
        )
    return None


def check_python(version: Tuple[int, int] = (sys.version_info[0], sys.version_info[1])) -> Optional[str]:
    """A Python that the project and the server's Python backend share."""
    if version in PYTHONS:
        return None
    known = " or ".join("{}.{}".format(*each) for each in PYTHONS)
    return (
        f"This is Python {version[0]}.{version[1]}, but {known} is needed. "
        "Install one and make the environment with it."
    )


def libpython() -> str:
    """File name of the shared library of this Python, which the server's Python backend loads."""
    return "libpython{}.{}.so.1.0".format(*sys.version_info[:2])


def libpython_folder() -> Optional[str]:
    """Folder to search for it: empty where the loader finds it by itself, None where it is nowhere."""
    own = sysconfig.get_config_var("LIBDIR") or ""
    if os.path.exists(os.path.join(own, libpython())):
        return own
    try:
        ctypes.CDLL(libpython())
    except OSError:
        return None
    return ""


def check_libpython() -> Optional[str]:
    """The shared library of this very Python version."""
    if libpython_folder() is not None:
        return None
    package = "libpython{}.{}".format(*sys.version_info[:2])
    return (
        f"{libpython()} was not found; the server's Python steps run in it. "
        f"Install it (Debian, Ubuntu: apt-get install {package}), or use a Python built with --enable-shared."
    )


def check_packages() -> Optional[str]:
    """The server's wheel, and a numpy that its Python backend can exchange strings with."""
    from importlib import metadata  # Python 3.8

    try:
        numpy = metadata.version("numpy")
        metadata.version("nvidia-pytriton")
    except metadata.PackageNotFoundError as error:
        return f"The package {error.args[0]} is not installed. Run `make install`, or pip install 'shelfbridge[serve]'."
    if int(numpy.split(".", maxsplit=1)[0]) >= 2:
        return (
            f"numpy is {numpy}, and from 2 on string tensors crash the server's Python backend. "
            "Run pip install 'numpy<2'."
        )
    return None


def check_shared_memory(needed: int = SHARED_MEMORY, folder: str = "/dev/shm") -> Optional[str]:
    """Room for the tensors that travel between the steps."""
    if not os.path.isdir(folder):
        return f"{folder} is missing, and the steps exchange tensors through it. Mount a tmpfs there."
    free = shutil.disk_usage(folder).free
    if free >= needed:
        return None
    return (
        f"{folder} has {free // 1024**2} MB free, but {needed // 1024**2} MB are needed. "
        f"Give it more (docker run --shm-size=1g; mount -o remount,size=1g {folder})."
    )


def check_disk(folder: str, needed: int) -> Optional[str]:
    """Room on the disk that holds a folder, which need not exist yet."""
    folder = os.path.abspath(folder)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    free = shutil.disk_usage(folder).free
    if free >= needed:
        return None
    return (
        f"{folder} has {free / GIGABYTE:.1f} GB free, but {needed / GIGABYTE:.1f} GB are needed. "
        "Make room, or work on another disk."
    )


def check_memory(needed: int = INSTALL_MEMORY) -> Optional[str]:
    """Memory of the machine, whether in use now or not."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if total >= needed:
        return None
    return f"This machine has {total / GIGABYTE:.1f} GB of memory, but {needed / GIGABYTE:.1f} GB are needed."


def check_ports(host: str, ports: Dict[str, int]) -> Optional[str]:
    """Ports that nobody listens on, by what they are for."""
    taken = []
    for port in set(ports.values()):
        names = [name for name in ports if ports[name] == port]
        if len(names) > 1:
            return f"Port {port} cannot be that of {' and '.join(names)} at once. Choose another (--{names[1]}-port)."
    for purpose, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                taken.append(f"{port} for {purpose} ({error.strerror})")
    if not taken:
        return None
    flag = next(iter(ports)) if len(taken) > 1 else taken[0].split()[2]
    return (
        f"Port {', '.join(taken)} cannot be had on {host}. Stop what holds it (make stop, if it is the embedded "
        f"server), or choose another (--{flag}-port)."
    )


def found(problems: Iterable[Optional[str]]) -> List[str]:
    """The problems among the results of checks."""
    return [problem for problem in problems if problem]


def ports(environment: Dict[str, str]) -> Dict[str, int]:
    """The ports that the embedded server will take, by what they are for."""
    defaults = {"grpc": 8001, "http": 8000, "metrics": 8002}
    return {name: int(environment.get(f"SHELFBRIDGE_{name.upper()}_PORT", port)) for name, port in defaults.items()}


def main(arguments: List[str]) -> int:
    """Check this machine for installing, building and serving; print what is lacking. `--ports`: those too."""
    problems = found([check_platform(), check_python()])
    problems = problems or found(
        [check_libpython(), check_shared_memory(), check_disk(".", INSTALL_DISK), check_memory()]
    )
    if "--ports" in arguments:
        host = os.environ.get("SHELFBRIDGE_HOST", "127.0.0.1")
        problems += found([check_ports(host, ports(dict(os.environ)))])
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
