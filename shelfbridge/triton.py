"""The shim between Triton's Python backend and everything else: nothing but this module imports its utilities.

A `model.py` names one of three classes: a step that is a model of its own (`served`), all ensembles in one process
(`ServedPipelines`), or a network where the server lacks the onnxruntime backend (`ServedGraph`). Requests that Triton
executes together are answered one by one, so that a bad one cannot hurt those beside it.
"""

import json
import locale
import traceback
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import triton_python_backend_utils as pb
from numpy.typing import NDArray

from shelfbridge.contract import MODELS, PERMISSION, STEPS, STORE_AWAY, Tensor
from shelfbridge.door import Door, guarded
from shelfbridge.errors import (
    InvalidEvents,
    InvalidQuery,
    PermissionRefused,
    StoreUnavailable,
    VectorsUnavailable,
)
from shelfbridge.gauges import Gauge
from shelfbridge.release import NOTHING, Release
from shelfbridge.services import Services
from shelfbridge.steps import Arrays, Step

Args = Mapping[str, str]
RELEASE, RESULT_CACHE, QUERY_CACHE = "release", "result_cache_megabytes", "query_cache_megabytes"
"""Parameters of the model that answers for all ensembles."""


class Model(ABC):
    """What all models of the Python backend share: the release that they read, and its gauges."""

    def initialize(self, args: Args) -> None:
        """Open what the model needs. Called by Triton once per instance."""
        # The backend's interpreter ignores PYTHONUTF8 and the locale: text files would be read as ASCII
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
        self.config = json.loads(args["model_config"])
        self.release: Release | None = None
        self.open(args)
        if self.release:
            self.release.watch(_Gauges(args["model_instance_name"]).show)

    @abstractmethod
    def open(self, args: Args) -> None:
        """Open what the model needs."""


class Served(Model):
    """A model that answers request by request: behind a door, and with failures that stay alone."""

    guards: tuple[str, ...] = ()
    """Models whose queues decide whether a request is let in."""
    told = True
    """Whether Triton may tell that a request was given up."""

    def initialize(self, args: Args) -> None:
        """Open what the model needs. Called by Triton once per instance."""
        super().initialize(args)
        groups = self.config.get("instance_group", [])
        self.door = Door(self.guards, sum(int(group.get("count", 1)) for group in groups))

    @abstractmethod
    def respond(self, request: Any) -> Any:
        """Return the outputs for one request."""

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Return one response for each request that Triton joined, in their order."""
        responses = []
        for request in requests:
            refused = self.refusal(request)
            responses.append(self._respond(request) if refused is None else refused)
            self.door.free()
        return responses

    def refusal(self, request: Any) -> Any:
        """Return the response to a request that is not worked on; None where it is.

        Triton tells a model whether its request was given up, but as of release 24.10 not a step within an ensemble:
        there the deadline that the client sends decides, which an ensemble does pass on. Asking is a way to the server
        and back: where all are asked within ensembles, it doubled the p99 of 16 clients and told nothing.
        """
        if not self.guards:
            return None
        given = request.timeout()
        why = self.door.refusal(given / 1e6 if given else None)
        if why is not None:
            return _error(why, pb.TritonError.UNAVAILABLE)
        if self.told and self.door.busy and request.is_cancelled():
            return _error("given up by its caller", pb.TritonError.CANCELLED)
        return None

    def _respond(self, request: Any) -> Any:
        try:
            return self.respond(request)
        except Exception as error:  # whatever went wrong, the requests beside it must be answered
            return _error(*_explained(error))


def _explained(error: Exception) -> tuple[str, Any]:
    """Return what the caller is told of an error, and the status; the server's log gets the rest."""
    if isinstance(error, InvalidQuery | InvalidEvents):
        return str(error), pb.TritonError.INVALID_ARG
    if isinstance(error, PermissionRefused):  # Triton has no status of its own for it
        return f"{PERMISSION}{error}", pb.TritonError.INVALID_ARG
    if isinstance(error, StoreUnavailable | VectorsUnavailable):
        pb.Logger.log_warn(str(error))
        profiles = isinstance(error, StoreUnavailable)
        words = f"{STORE_AWAY}; send the same again" if profiles else "the store of vectors does not answer; try later"
        return words, pb.TritonError.UNAVAILABLE
    pb.Logger.log_error("".join(traceback.format_exception(error)))
    return f"{type(error).__name__}; the server's log says where", pb.TritonError.INTERNAL


class ServedStep(Served):
    """A step that is a model of its own."""

    step_class: ClassVar[type[Step]]

    def open(self, args: Args) -> None:
        """Open the parts of the release that the step reads, from its own version folder."""
        step, model = self.step_class, MODELS[self.step_class.name]
        self.inputs, self.batched = model.inputs, model.batched
        if step.reads:
            self.release = Release.open(_version_folder(args), step.reads)
        self.step = step(Services())

    def respond(self, request: Any) -> Any:
        """As `Served.respond`."""
        now = NOTHING if self.release is None else self.release.now()
        made = self.step.run(dict(_received(request, self.inputs, self.batched)), now)
        return _response(made, self.batched)


def served(step: type[Step]) -> type[ServedStep]:
    """Return the class that Triton runs a step by."""
    return type(step.__name__, (ServedStep,), {"step_class": step, "guards": guarded(step.name, STEPS)})


class ServedPipelines(Served):
    """All ensembles of a release in one process. It is a step of each, so that Triton tells of no request given up."""

    told = False

    def initialize(self, args: Args) -> None:
        """Open the release. Called by Triton once per instance."""
        self.guards = (args["model_name"],)
        super().initialize(args)

    def open(self, args: Args) -> None:
        """Open the release that the model's parameters name."""
        from shelfbridge.pipeline import Pipelines  # onnxruntime, which a GPU server's steps do without

        given = {key: value["string_value"] for key, value in self.config["parameters"].items()}
        self.pipelines = Pipelines(
            Path(given[RELEASE]),
            result_cache=float(given[RESULT_CACHE]),
            query_cache=float(given[QUERY_CACHE]),
        )
        self.release = self.pipelines.release

    def respond(self, request: Any) -> Any:
        """As `Served.respond`; the outputs that are asked for name the ensemble."""
        name = next(iter(request.requested_output_names())).partition(".")[0]
        given = dict(_received(request, MODELS[name].inputs, True, prefix=f"{name}."))
        made = self.pipelines[name].answer(given, self.pipelines.release.now())
        return _response({f"{name}.{tensor}": array for tensor, array in made.items()}, True)


class ServedGraph(Model):
    """A network, where the server lacks the onnxruntime backend."""

    def open(self, args: Args) -> None:
        """Open the graph."""
        from shelfbridge.graph import Graph

        self.graph = Graph.open(_version_folder(args), self.config)
        self.batched = int(self.config["max_batch_size"]) > 0

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Requests of equal shapes go through the network together; a group that fails is tried one by one."""
        feeds = [
            {name: pb.get_input_tensor_by_name(request, name).as_numpy() for name in self.graph.inputs}
            for request in requests
        ]
        groups: dict[Any, list[int]] = defaultdict(list)
        for place, feed in enumerate(feeds):
            groups[tuple(array.shape[1:] for array in feed.values()) if self.batched else place].append(place)
        responses: list[Any] = [None] * len(requests)
        for places in groups.values():
            for place, response in zip(places, self._group([feeds[place] for place in places]), strict=True):
                responses[place] = response
        return responses

    def _group(self, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> list[Any]:
        try:
            answers = self.graph.run_batch(feeds)
        except Exception as error:
            if len(feeds) > 1:
                return [response for feed in feeds for response in self._group([feed])]
            pb.Logger.log_error(str(error))
            return [_error("the model failed on this input; see the server's log", pb.TritonError.INTERNAL)]
        return [_response(dict(zip(self.graph.outputs, answer, strict=True)), batched=False) for answer in answers]


class _Gauges:
    """The process's gauges among the server's metrics."""

    def __init__(self, instance: str) -> None:
        self._shown: dict[Gauge, tuple[Any, Any, float]] = {}
        for gauge in Gauge.ALL:
            family = pb.MetricFamily(name=gauge.name, description=gauge.description, kind=pb.MetricFamily.GAUGE)
            self._shown[gauge] = (family, family.Metric(labels={"instance": instance}), float("nan"))
        self.show()

    def show(self) -> None:
        """Tell the server what has changed."""
        for gauge, (family, metric, value) in self._shown.items():
            if gauge.value != value:
                metric.set(gauge.value)
                self._shown[gauge] = (family, metric, gauge.value)


def _version_folder(args: Args) -> Path:
    return (Path(args["model_repository"]) / args["model_version"]).resolve()


def _received(
    request: Any, tensors: Sequence[Tensor], batched: bool, prefix: str = ""
) -> Iterator[tuple[str, NDArray[Any]]]:
    for tensor in tensors:
        found = pb.get_input_tensor_by_name(request, prefix + tensor.name)
        if found is None:
            if not tensor.optional:
                raise InvalidQuery(f"expected the input {tensor.name}, which is missing; send it")
            continue
        array = found.as_numpy()
        if batched:
            if len(array) != 1:
                raise InvalidQuery(f"{tensor.name} holds {len(array)} rows; send one query a request")
            array = array[0]
        if tensor.dims == (1,) and array.shape != (1,):
            raise InvalidQuery(f"{tensor.name} holds {array.size} values; send one")
        yield tensor.name, array


def _response(made: Arrays, batched: bool) -> Any:
    return pb.InferenceResponse([pb.Tensor(name, array[None] if batched else array) for name, array in made.items()])


def _error(message: str, code: Any) -> Any:
    return pb.InferenceResponse(error=pb.TritonError(message, code))
