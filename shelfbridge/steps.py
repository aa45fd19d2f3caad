"""What the Python steps of the ensembles share: tensors by contract, a timeline, and failures that stay alone.

Runs inside Triton's Python backend only. A step is a subclass of `Step` that says how to open its folder and how to
answer one query; requests that Triton executes together are answered one by one, so that a bad one cannot hurt those
beside it.
"""

import locale
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb
from numpy.typing import NDArray

from shelfbridge.contract import MODELS, TIMELINE, Tensor
from shelfbridge.errors import InvalidQuery

Outputs = dict[Tensor, NDArray[Any]]
"""Arrays by tensor, without the batch dimension."""


@dataclass(frozen=True)
class Inputs:
    """The tensors of one query, without the batch dimension."""

    request: Any
    begun: int
    """Monotonic nanoseconds at which the step took the request up."""

    def get(self, tensor: Tensor) -> NDArray[Any] | None:
        """The array of a tensor; None where an optional one was not sent.

        Raises:
            InvalidQuery: the request holds more than one query.
        """
        found = pb.get_input_tensor_by_name(self.request, tensor.name)
        if found is None:
            return None
        array: NDArray[Any] = found.as_numpy()
        if len(array) != 1:
            raise InvalidQuery(f"{tensor.name} holds {len(array)} rows; send one query a request")
        row: NDArray[Any] = array[0]
        return row

    def __getitem__(self, tensor: Tensor) -> NDArray[Any]:
        array = self.get(tensor)
        if array is None:
            raise InvalidQuery(f"{tensor.name} is missing")
        return array

    def value(self, tensor: Tensor, default: Any = None) -> Any:
        """The only element of a tensor (bytes of a string); the default where it was not sent."""
        array = self.get(tensor)
        return default if array is None else array.item()

    def timeline(self) -> NDArray[np.int64]:
        """Begun and done of every Python step up to this one, which is done now."""
        before = self.get(TIMELINE)
        now = np.array([self.begun, time.monotonic_ns()], np.int64)
        return now if before is None else np.concatenate([before, now])


class Step(ABC):
    """Base of every Python step; each model.py names its own `TritonPythonModel`."""

    @abstractmethod
    def open(self, folder: Path) -> None:
        """Load what the step needs from its version folder."""

    @abstractmethod
    def answer(self, inputs: Inputs) -> Outputs:
        """The outputs for one query, without `timeline`, which is added here."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Called by Triton once per instance."""
        # The backend's interpreter ignores PYTHONUTF8 and the locale: text files would be read as ASCII
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
        self.outputs = MODELS[args["model_name"]].outputs
        self.open(Path(args["model_repository"]) / args["model_version"])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Called by Triton with the requests it joined: one response each, in their order."""
        begun = time.monotonic_ns()
        return [self._respond(Inputs(request, begun)) for request in requests]

    def _respond(self, inputs: Inputs) -> Any:
        try:
            answer = self.answer(inputs)
            if TIMELINE in self.outputs:
                answer[TIMELINE] = inputs.timeline()
            return pb.InferenceResponse([pb.Tensor(tensor.name, answer[tensor][None]) for tensor in self.outputs])
        except InvalidQuery as error:
            refusal = pb.TritonError(str(error), pb.TritonError.INVALID_ARG)
        except Exception as error:  # whatever went wrong, the requests beside it must be answered
            pb.Logger.log_error(traceback.format_exc())
            refusal = pb.TritonError(f"{type(error).__name__}; the server's log says where", pb.TritonError.INTERNAL)
        return pb.InferenceResponse(error=refusal)


def strings(values: Sequence[bytes | str]) -> NDArray[np.object_]:
    """A STRING tensor's array."""
    return np.array([v.encode() if isinstance(v, str) else v for v in values], dtype=np.object_)
