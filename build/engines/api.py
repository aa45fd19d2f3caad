"""The one place that imports TensorRT, and what it says while it works.

Its modules have no type stubs. The tests hold the names that are used here, and the arguments they are called with,
against the signatures of the real wheels, oldest to newest, and drive the builder through TensorRT-RTX's.
"""

import importlib
import logging
from types import ModuleType
from typing import Any, SupportsInt, TypeVar

from shelfbridge.errors import PrerequisiteError

Own = TypeVar("Own")
OLDEST = (10, 12)
"""From here on a strongly typed network without precision flags is all that fp16 and int8 need."""
RTX = "tensorrt_rtx_bindings"
"""TensorRT-RTX: NVIDIA's parser and builder for GPUs of consumers, which need no GPU to parse and build."""
LOG = logging.getLogger("tensorrt")
"""What TensorRT says, its small talk (VERBOSE) left out; the report has a file for it."""
LOG.setLevel(logging.INFO)
LOG.propagate = False
LOG.addHandler(logging.NullHandler())


def tensorrt() -> ModuleType:
    """Return the installed TensorRT.

    Raises:
        PrerequisiteError: there is none, it does not load, or it is too old.
    """
    cure = "build the engines in their container (make engines)"
    try:
        module = importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise PrerequisiteError(f"TensorRT cannot be used here ({error}); {cure}") from error
    found = tuple(int(part) for part in module.__version__.split(".")[:2])
    if found < OLDEST:
        raise PrerequisiteError(f"TensorRT {module.__version__} is older than {OLDEST[0]}.{OLDEST[1]}; {cure}")
    return module


def tensorrt_rtx() -> ModuleType | None:
    """Return the installed TensorRT-RTX, None where there is none that loads."""
    try:
        return importlib.import_module(RTX)
    except (ImportError, OSError):
        return None


def network_flags(trt: ModuleType) -> int:
    """Return the flags of a strongly typed network; where the enumeration has no such member every network is one."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


class Messages:
    """Hands what TensorRT says to `LOG` and keeps its errors for the messages here."""

    TOLD = 3
    """Errors, the last ones, that a message repeats: TensorRT logs many for one cause."""

    def __init__(self, trt: ModuleType) -> None:
        super().__init__()
        self.errors: list[str] = []
        named = trt.ILogger.Severity
        self._levels = {
            int(named.INTERNAL_ERROR): logging.CRITICAL,
            int(named.ERROR): logging.ERROR,
            int(named.WARNING): logging.WARNING,
            int(named.INFO): logging.INFO,
        }

    def log(self, severity: SupportsInt, msg: str) -> None:
        """Called by TensorRT, from any thread."""
        level = self._levels.get(int(severity), logging.DEBUG)
        LOG.log(level, "%s", msg)
        if level >= logging.ERROR:
            self.errors.append(msg)

    def cause(self) -> str:
        """The last errors in one line."""
        return "; ".join(self.errors[-self.TOLD :]) or "it gave no reason"


def make_logger(trt: ModuleType) -> Messages:
    """A logger that TensorRT accepts. It must outlive all that is made with it."""
    return derived(Messages, trt.ILogger)(trt)


def derived(own: type[Own], base: Any) -> type[Own]:
    """Return a class of ours as one that derives from a class of TensorRT's too, which accepts no other."""
    bases: tuple[Any, ...] = (own, base)
    made: type[Own] = type(own.__name__, bases, {})
    return made
