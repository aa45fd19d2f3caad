"""What the Python steps of the ensembles share: tensors by contract, a timeline, and failures that stay alone.

Runs inside Triton's Python backend only. A step is a subclass of `Step` that says how to open its folder and how to
answer one query; requests that Triton executes together are answered one by one, so that a bad one cannot hurt those
beside it.
"""

import locale
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb
from numpy.typing import NDArray

from shelfbridge.backlog import QUEUE, Backlog, instances_of
from shelfbridge.contract import MODELS, PERMISSION, STORE_AWAY, TIMELINE, Tensor
from shelfbridge.errors import InvalidEvents, InvalidQuery, PermissionRefused, StoreUnavailable

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by the names of their tensors, without the batch dimension."""
Outputs = dict[Tensor, NDArray[Any]]
"""The same by tensor."""


@dataclass(frozen=True)
class Inputs:
    """The tensors of one query."""

    arrays: Arrays
    begun: int
    """Monotonic nanoseconds at which the step took the request up."""

    def get(self, tensor: Tensor) -> NDArray[Any] | None:
        """The array of a tensor; None where an optional one was not sent."""
        return self.arrays.get(tensor.name)

    def __getitem__(self, tensor: Tensor) -> NDArray[Any]:
        return self.arrays[tensor.name]

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

    def state(self) -> Hashable:
        """What answers come of beside their inputs; nothing here."""
        return None

    def initialize(self, args: Mapping[str, str]) -> None:
        """Called by Triton once per instance."""
        # The backend's interpreter ignores PYTHONUTF8 and the locale: text files would be read as ASCII
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
        model = MODELS[args["model_name"]]
        self.inputs, self.outputs, self.batched = model.inputs, model.outputs, model.batched
        self.backlog = Backlog(model.name, instances_of(args))
        self.open(Path(args["model_repository"]) / args["model_version"])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Called by Triton with the requests it joined: one response each, in their order."""
        responses = [_refused() if self.backlog.too_long() else self._respond(request) for request in requests]
        self.backlog.free()
        return responses

    def run(self, arrays: Arrays) -> Arrays:
        """The outputs for one query, `timeline` among them where the step has one.

        Raises:
            InvalidQuery, InvalidEvents, PermissionRefused: the step refuses it.
            StoreUnavailable: it may be sent again.
        """
        inputs = Inputs(arrays, time.monotonic_ns())
        answer = self.answer(inputs)
        if TIMELINE in self.outputs:
            answer[TIMELINE] = inputs.timeline()
        return {tensor.name: answer[tensor] for tensor in self.outputs}

    def _respond(self, request: Any) -> Any:
        try:
            answer = self.run(dict(self._received(request)))
            return pb.InferenceResponse(
                [pb.Tensor(name, array[None] if self.batched else array) for name, array in answer.items()]
            )
        except (InvalidQuery, InvalidEvents) as error:
            refusal = pb.TritonError(str(error), pb.TritonError.INVALID_ARG)
        except PermissionRefused as error:  # Triton has no status of its own for it
            refusal = pb.TritonError(f"{PERMISSION}{error}", pb.TritonError.INVALID_ARG)
        except StoreUnavailable as error:
            pb.Logger.log_warn(str(error))
            refusal = pb.TritonError(f"{STORE_AWAY}; send the same again", pb.TritonError.UNAVAILABLE)
        except Exception as error:  # whatever went wrong, the requests beside it must be answered
            pb.Logger.log_error(traceback.format_exc())
            refusal = pb.TritonError(f"{type(error).__name__}; the server's log says where", pb.TritonError.INTERNAL)
        return pb.InferenceResponse(error=refusal)

    def _received(self, request: Any) -> Iterator[tuple[str, NDArray[Any]]]:
        for tensor in self.inputs:
            found = pb.get_input_tensor_by_name(request, tensor.name)
            if found is None:
                if not tensor.optional:
                    raise InvalidQuery(f"expected the input {tensor.name}, which is missing; send it")
                continue
            array = found.as_numpy()
            if not self.batched:
                yield tensor.name, array
                continue
            if len(array) != 1:
                raise InvalidQuery(f"{tensor.name} holds {len(array)} rows; send one query a request")
            yield tensor.name, array[0]


def _refused() -> Any:
    words = f"overloaded: more than {QUEUE} requests wait; try later or elsewhere"
    return pb.InferenceResponse(error=pb.TritonError(words, pb.TritonError.UNAVAILABLE))


def strings(values: Sequence[bytes | str]) -> NDArray[np.object_]:
    """A STRING tensor's array."""
    return np.array([v.encode() if isinstance(v, str) else v for v in values], dtype=np.object_)
