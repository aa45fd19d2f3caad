"""What a step of a pipeline is: a plain object that makes outputs of inputs and of a snapshot of the release.

Nothing here knows of Triton. The same objects answer requests inside Triton (`shelfbridge.triton`), run whole pipelines
in one process (`shelfbridge.pipeline`), and make training features, calibration data and evaluations offline.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from shelfbridge.contract import MODELS, TIMELINE, Tensor
from shelfbridge.release import Part, Snapshot
from shelfbridge.services import Services

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by the names of their tensors, without the batch dimension."""
Outputs = dict[Tensor, NDArray[Any]]
"""The same by tensor."""


@dataclass(frozen=True)
class Inputs:
    """The tensors of one request."""

    arrays: Arrays
    begun: int
    """Monotonic nanoseconds at which the step took the request up."""

    def get(self, tensor: Tensor) -> NDArray[Any] | None:
        """Return the array of a tensor, or None where an optional one was not sent."""
        return self.arrays.get(tensor.name)

    def __getitem__(self, tensor: Tensor) -> NDArray[Any]:
        return self.arrays[tensor.name]

    def value(self, tensor: Tensor, default: Any = None) -> Any:
        """Return the only element of a tensor (bytes of a string), or the default where it was not sent."""
        array = self.get(tensor)
        return default if array is None else array.item()

    def text(self, tensor: Tensor) -> str:
        """Return a string whose ill-formed bytes can be replaced, such as a token; empty where it was not sent."""
        raw: bytes = self.value(tensor) or b""
        return raw.decode(errors="replace")

    def timeline(self) -> NDArray[np.int64]:
        """Return begin and end of every Python step up to this one, which ends now."""
        before = self.get(TIMELINE)
        now = np.array([self.begun, time.monotonic_ns()], np.int64)
        return now if before is None else np.concatenate([before, now])


class Step(ABC):
    """Base of all steps written in Python. A step keeps nothing of a request."""

    name: ClassVar[str]
    """Name of its model in the repository, whose tensors the contract defines."""
    reads: ClassVar[tuple[Part, ...]] = ()
    """Parts of a release that its snapshots must hold."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.outputs = MODELS[self.name].outputs

    @abstractmethod
    def answer(self, inputs: Inputs, now: Snapshot) -> Outputs:
        """Return the outputs for one request, without `timeline`, which `run` adds."""

    def run(self, arrays: Arrays, now: Snapshot) -> Arrays:
        """Return the outputs for one request, `timeline` among them where the step has one.

        Args:
            arrays: the request's tensors, without the batch dimension.
            now: what the release holds; one snapshot serves all steps of a request.

        Raises:
            InvalidQuery, InvalidEvents, PermissionRefused: the step refuses the request.
            StoreUnavailable: the request may be sent again.
        """
        inputs = Inputs(arrays, time.monotonic_ns())
        answer = self.answer(inputs, now)
        if TIMELINE in self.outputs:
            answer[TIMELINE] = inputs.timeline()
        return {tensor.name: answer[tensor] for tensor in self.outputs}


def strings(values: Sequence[bytes | str]) -> NDArray[np.object_]:
    """Return a STRING tensor's array."""
    return np.array([v.encode() if isinstance(v, str) else v for v in values], dtype=np.object_)
