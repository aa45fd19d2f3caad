"""The double of TensorRT has the real names and parameters, as far as the wheels tell them without a GPU.

`tensorrt_signatures.txt` was read from the docstrings of `tensorrt-cu12-bindings` 10.12.0.36, 10.15.1.29 and
11.4.0.106, which agree on every line of it.
"""

import inspect
import re
from pathlib import Path

import pytest

from build.engines import api
from tests.unit import engine_double, tensorrt_double

LINES = Path(__file__).with_name("tensorrt_signatures.txt").read_text().splitlines()
REAL = {name: tuple(more[:-1].split(", ")) if more[:-1] else () for name, _, more in (s.partition("(") for s in LINES)}
"""Parameters by name, less `self`; of an attribute none."""
STANDS_FOR = {
    tensorrt_double.BuilderDouble: "Builder",
    tensorrt_double.ConfigDouble: "IBuilderConfig",
    tensorrt_double.ProfileDouble: "IOptimizationProfile",
    tensorrt_double.TimingCacheDouble: "ITimingCache",
    engine_double.RuntimeDouble: "Runtime",
    engine_double.InspectorDouble: "EngineInspector",
    engine_double.EngineDouble: "ICudaEngine",
    engine_double.ContextDouble: "IExecutionContext",
}


@pytest.mark.parametrize("double", STANDS_FOR, ids=lambda double: double.__name__)
def test_the_double_has_no_method_or_parameter_of_its_own(double):
    methods = {name: made for name, made in inspect.getmembers(double, inspect.isfunction) if not name.startswith("_")}
    assert methods
    for name, made in methods.items():
        _, *parameters = inspect.signature(made).parameters
        assert tuple(parameters) == REAL[f"{STANDS_FOR[double]}.{name}"], name


@pytest.mark.parametrize(
    "kind",
    [
        tensorrt_double.BuilderFlag,
        tensorrt_double.ProfilingVerbosity,
        tensorrt_double.WithFlag,
        engine_double.LayerInformationFormat,
    ],
)
def test_the_double_has_no_member_of_its_own(kind):
    name = {"WithFlag": "NetworkDefinitionCreationFlag"}.get(kind.__name__, kind.__name__)
    assert {f"{name}.{member.name}" for member in kind} <= set(REAL)


@pytest.mark.parametrize("name", REAL)
def test_tensorrt_rtx_has_the_same(name):
    trt = api.tensorrt_rtx()
    if trt is None:
        pytest.skip("TensorRT-RTX is not installed (make rtx)")
    kind, _, member = name.partition(".")
    found = getattr(getattr(trt, kind), member or "__init__")
    if callable(found) and f"{name}(" in "\n".join(LINES):
        calls = re.findall(
            rf"^\s*(?:\d+\. )?{member or '__init__'}\(self: [^,)]*(.*)\) ->", found.__doc__, re.MULTILINE
        )
        assert REAL[name] in [tuple(re.findall(r", (\w+): ", call)) for call in calls]
