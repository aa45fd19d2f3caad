"""An ensemble whose steps run one after the other in one process.

Triton takes this file as the backend of every model whose config says `backend: "together"`, and runs it in the Python
backend. Which steps there are, and which tensor goes where, is read from the ensemble's own config in the release, so
that both ways of running it have one definition; a step is the `model.py` or `model.onnx` that the ensemble runs, with
the threads of its own config for the CPU.

A hop between two steps of an ensemble costs about as much as a small model takes on a CPU, and joining requests gains
nothing where every core is busy with one: so here each process answers whole searches.
"""

import json
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import model_config_pb2

from deploy.embedded.backends.onnxruntime.model import check, open_session
from deploy.embedded.caches import Cache, identity
from shelfbridge.contract import STEP_TIMES
from shelfbridge.steps import Arrays, Inputs, Outputs, Step

Run = Callable[[Arrays], Arrays]
"""A step: its outputs of its inputs, by their names, without the batch dimension."""


@dataclass(frozen=True)
class Wired:
    """A step, and what the ensemble calls each of its inputs and outputs."""

    run: Run
    state: Callable[[], Hashable]
    """What its outputs come of beside its inputs."""
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


class TritonPythonModel(Step):
    """One instance of one ensemble."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Called by Triton once per instance."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.cache, self.query_cache = (
            Cache(float(parameters[f"{name}_cache_megabytes"]["string_value"])) for name in ("result", "query")
        )
        super().initialize(args)

    def open(self, folder: Path) -> None:
        """Open the steps; `folder` is, or links to, the ensemble's version folder in a release."""
        home = folder.resolve().parent
        self.steps = [
            Wired(
                *open_step(home.parent / step.model_name, folder.name, self.query_cache),
                step.input_map,
                step.output_map,
            )
            for step in read_config(home / "config.pbtxt").ensemble_scheduling.step
        ]

    def answer(self, inputs: Inputs) -> Outputs:
        """What was answered to the same request before, or the answer of all steps."""
        made_now = False

        def make() -> Arrays:
            nonlocal made_now
            made_now = True
            return self.search(inputs.arrays)

        state = tuple(step.state() for step in self.steps)
        known = self.cache.get((state, identity(inputs.arrays)), make)
        answer = {tensor: known[tensor.name] for tensor in self.outputs}
        if not made_now:
            answer[STEP_TIMES] = np.zeros_like(answer[STEP_TIMES])
            answer[STEP_TIMES][0] = (time.monotonic_ns() - inputs.begun) / 1e6
        return answer

    def search(self, given: Arrays) -> Arrays:
        """Every step in turn; what one makes is there for those after it."""
        known = dict(given)
        for step in self.steps:
            made = step.run({name: known[source] for name, source in step.inputs.items() if source in known})
            known.update({step.outputs[name]: array for name, array in made.items() if name in step.outputs})
        return {tensor.name: known[tensor.name] for tensor in self.outputs}


def open_step(model: Path, version: str, cache: Cache) -> tuple[Run, Callable[[], Hashable]]:
    """A model of the release, opened, and its state; the cache is for one whose config enables Triton's response cache,
    which sees whole requests only.

    Raises:
        RuntimeError: it is missing, its ONNX file is missing or damaged, or its tensors are not those of its config.
    """
    if not (model / version).is_dir():
        raise RuntimeError(f"{model / version} is missing; build the release again")
    python = model / version / "model.py"
    if not python.is_file():
        return open_graph(model, version, cache), lambda: None
    spec = spec_from_file_location(model.name, python)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    step: Step = module.TritonPythonModel()
    step.initialize({"model_name": model.name, "model_repository": str(model), "model_version": version})
    return step.run, step.state


def open_graph(model: Path, version: str, cache: Cache) -> Run:
    """An ONNX model as its config for the CPU has it."""
    config = MessageToDict(read_config(model / "configs" / "cpu.pbtxt"), preserving_proto_field_name=True)
    path = model / version / "model.onnx"
    session = open_session(path, config)
    check(path, "input", session.get_inputs(), config["input"], batched=True)
    check(path, "output", session.get_outputs(), config["output"], batched=True)
    names = [tensor["name"] for tensor in config["output"]]

    def compute(given: Arrays) -> Arrays:
        outputs = session.run(names, {name: array[None] for name, array in given.items()})
        return {name: array[0] for name, array in zip(names, outputs, strict=True)}

    if not config.get("response_cache", {}).get("enable"):
        return compute
    return lambda given: cache.get((model.name, identity(given)), lambda: compute(given))


def read_config(file: Path) -> Any:
    """A `config.pbtxt`."""
    return text_format.Parse(file.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
