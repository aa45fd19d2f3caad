"""An ensemble's steps, one after the other in one process, as `config.pbtxt` wires them.

It serves (all ensembles in one set of processes: `shelfbridge.triton`), and it is what offline programs run: training
features, calibration and evaluation come of the same objects that answer shoppers.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from shelfbridge import configs
from shelfbridge.cache import Cache, identity
from shelfbridge.contract import CACHED, MODELS, STEP_TIMES, TIMELINE
from shelfbridge.errors import ArtefactError
from shelfbridge.graph import Graph
from shelfbridge.release import Part, Release, Snapshot, read_manifest
from shelfbridge.services import Services
from shelfbridge.steps.events import Events
from shelfbridge.steps.personal import Personal
from shelfbridge.steps.postprocess import Postprocess
from shelfbridge.steps.preprocess import Preprocess
from shelfbridge.steps.privacy import Privacy
from shelfbridge.steps.profile import Profile
from shelfbridge.steps.retrieve import Retrieve
from shelfbridge.steps.shelf import Shelf
from shelfbridge.steps.shelf_candidates import ShelfCandidates
from shelfbridge.steps.shortlist import Shortlist
from shelfbridge.steps.step import Arrays, Step
from shelfbridge.steps.taste import Taste

STEPS: Mapping[str, type[Step]] = {
    step.name: step
    for step in (
        *(Preprocess, Retrieve, Shortlist, Postprocess, Profile, ShelfCandidates, Shelf, Taste, Personal),
        *(Events, Privacy),
    )
}
"""The steps written in Python, by the names of their models."""


class Runs(Protocol):
    """What a pipeline runs: a `Step` or a `Graph`."""

    def run(self, arrays: Arrays, now: Snapshot) -> Arrays:
        """Return the outputs for one request."""
        ...


@dataclass(frozen=True)
class Wired:
    """A step, and what the ensemble calls each of its inputs and outputs."""

    name: str
    step: Runs
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


class Pipeline:
    """One ensemble."""

    def __init__(self, config: Any, steps: Mapping[str, Runs], cache: Cache | None = None) -> None:
        """Wire steps as an ensemble's config says.

        Args:
            config: the ensemble's.
            steps: by the names of their models.
            cache: of whole answers; None keeps none.
        """
        self.name = config.name
        self.outputs = [tensor.name for tensor in config.output]
        self.wiring = [
            Wired(step.model_name, steps[step.model_name], step.input_map, step.output_map)
            for step in config.ensemble_scheduling.step
        ]
        self._cache = cache if self.name in CACHED else None

    def answer(self, given: Arrays, now: Snapshot) -> Arrays:
        """Return the ensemble's outputs for one request.

        What the first step makes of the request is all that the others see of it, so answers are found again by that
        and by the state of the catalogue.

        Args:
            given: the ensemble's inputs.
            now: the snapshot that all steps read.

        Raises:
            ShelfbridgeError: as the steps raise.
        """
        if self._cache is None:
            return self._outputs(self.run(given, now))
        begun = time.monotonic_ns()
        first = self.run(given, now, until=1)
        asked = {name: array for name, array in first.items() if name not in given}
        key = (now.generation, self.name, identity(_untimed(self.wiring[0], asked)))
        if (kept := self._cache.find(key)) is not None:
            times = np.zeros_like(kept[STEP_TIMES.name])
            times[0] = (time.monotonic_ns() - begun) / 1e6
            return {**kept, STEP_TIMES.name: times}
        answer = self._outputs(self.run(first, now, since=1))
        self._cache.keep(key, answer)
        return answer

    def run(
        self,
        given: Arrays,
        now: Snapshot,
        *,
        since: int = 0,
        until: int | None = None,
    ) -> dict[str, Any]:
        """Run some of the steps, each with what those before it have made.

        Args:
            given: the ensemble's inputs, and what the steps before `since` have made, by the ensemble's names.
            now: the snapshot that all steps read.
            since, until: place of the first step, and of the first that is not run.

        Returns:
            All tensors that are known then, by the ensemble's names.
        """
        known = dict(given)
        for wired in self.wiring[since:until]:
            made = wired.step.run(
                {name: known[source] for name, source in wired.inputs.items() if source in known}, now
            )
            known.update({wired.outputs[name]: array for name, array in made.items() if name in wired.outputs})
        return known

    def _outputs(self, known: Mapping[str, Any]) -> Arrays:
        return {name: known[name] for name in self.outputs}


class Pipelines:
    """All ensembles of a release in one process: every step and every part of the release is opened once."""

    def __init__(
        self,
        repository: Path,
        names: Iterable[str] | None = None,
        *,
        services: Services | None = None,
        graphs: Mapping[str, Graph] | None = None,
        result_cache: float = 0,
        query_cache: float = 0,
    ) -> None:
        """Open a release.

        Args:
            repository: its folder.
            names: of the ensembles; without them, all that it has.
            services: what steps use beside it.
            graphs: networks that take the place of the release's own, by the names of their models.
            result_cache, query_cache: megabytes of answers, and of encoded queries, that are kept.

        Raises:
            ArtefactError: a model is missing, or a file of one is missing or damaged.
        """
        repository = repository.resolve()
        version = str(read_manifest(repository)["release"])
        found = {
            file.parent.name: _config(file.parent, configs.NAME)
            for file in sorted(repository.glob(f"*/{configs.NAME}"))
        }
        ensembles = {name: config for name, config in found.items() if configs.is_ensemble(config)}
        chosen = sorted(ensembles) if names is None else list(names)
        models = {step.model_name for name in chosen for step in ensembles[name].ensemble_scheduling.step}
        for model in sorted(models):
            if not (repository / model / version).is_dir():
                raise ArtefactError(f"{repository / model / version} is missing; build the release again")
        kept, queries = Cache(result_cache), Cache(query_cache)
        self.release = Release.open(repository, reads_of(models))
        services = services or Services()
        steps: dict[str, Runs] = {name: STEPS[name](services) for name in models if name in STEPS}
        for name in models - steps.keys():
            steps[name] = (graphs or {}).get(name) or _network(repository / name, version, queries)
        self.pipelines = {name: Pipeline(ensembles[name], steps, kept if result_cache else None) for name in chosen}

    def __getitem__(self, name: str) -> Pipeline:
        return self.pipelines[name]


def reads_of(models: Iterable[str]) -> set[Part]:
    """Return the parts of a release that some of its models read."""
    return {part for model in models if model in STEPS for part in STEPS[model].reads}


@dataclass
class _Cached:
    """A network whose outputs are kept by its inputs, as Triton's response cache would."""

    name: str
    graph: Graph
    cache: Cache

    def run(self, arrays: Arrays, now: Snapshot) -> Arrays:
        """As `Graph.run`."""
        return self.cache.get((self.name, identity(arrays)), lambda: self.graph.run(arrays, now))


def _network(model: Path, version: str, cache: Cache) -> Runs:
    """Return a network as its config for the CPU has it."""
    config = configs.as_dict(_config(model, configs.CPU))
    graph = Graph.open(model / version, config)
    return _Cached(model.name, graph, cache) if config.get("response_cache", {}).get("enable") else graph


def _config(model: Path, name: str) -> Any:
    """Return a config of a model, held against the contract where that knows the model.

    Raises:
        ArtefactError: it cannot be read, or lacks a tensor, as half a file does.
    """
    config, known = configs.read(model / name), MODELS.get(model.name)
    wanted = {tensor.name for tensor in (*known.inputs, *known.outputs)} if known else set()
    if missing := wanted - {tensor.name for tensor in (*config.input, *config.output)}:
        raise ArtefactError(f"{model / name} does not name {', '.join(sorted(missing))}; build the release again")
    return config


def _untimed(first: Wired, made: Arrays) -> Arrays:
    timeline = first.outputs.get(TIMELINE.name)
    return {name: array for name, array in made.items() if name != timeline}
