"""The builder keeps to TensorRT's API: NVIDIA's own where it needs no GPU, else the double beside this file."""

import io
import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from build.engines import api
from build.engines.buckets import profiles
from build.engines.builder import Network, Options, Watch, configure
from build.engines.runtime import Gpu
from build.engines.stage import Bench
from build.progress import progress
from shelfbridge.contract import MODELS
from shelfbridge.errors import ArtefactError, PrerequisiteError
from tests.functional import tiny
from tests.unit.engine_double import CpuDevice
from tests.unit.engine_samples import LENGTHS, PLAIN, QUIET, write_graphs
from tests.unit.tensorrt_double import TensorRTDouble, WithFlag

RTX = api.tensorrt_rtx()
DETERMINANT = """<ir_version: 9, opset_import: ["": 18]>
g (float[n, 3, 3] x) => (float[n] y) { y = Det (x) }"""
FLAVOURS = {"10.12": ("10.12.0.36", True), "11": ("11.1.0.106", True), "flagless": ("12.0.0.1", False)}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    return write_graphs(tmp_path_factory.mktemp("graphs"))


@pytest.fixture
def trt():
    return TensorRTDouble()


def built(trt, graph, cache=None, options=PLAIN, console=QUIET):
    """Its network, and the plan that came of it."""
    network = Network.parsed(trt, graph)
    made = profiles(MODELS["encoder"], LENGTHS, 4)
    return network, network.serialised(made, options, cache=cache, console=console)


class TestImporting:
    @pytest.mark.parametrize("failure", [ImportError("no module"), OSError("libnvinfer.so.10: cannot open")])
    def test_without_tensorrt_the_cure_is_said(self, monkeypatch, failure):
        def fails(name: str) -> None:
            raise failure

        monkeypatch.setattr(api.importlib, "import_module", fails)
        with pytest.raises(PrerequisiteError, match=r"TensorRT cannot be used here .*\(make engines\)"):
            api.tensorrt()

    @pytest.mark.parametrize("version", ["8.6.1", "10.11.0.33"])
    def test_an_old_one_is_refused(self, monkeypatch, version):
        monkeypatch.setattr(api.importlib, "import_module", lambda name: TensorRTDouble(version))
        with pytest.raises(PrerequisiteError, match=f"TensorRT {version} is older than 10.12"):
            api.tensorrt()

    @pytest.mark.parametrize("version", ["10.12.0.36", "11.4.0.1"])
    def test_a_newer_one_is_taken(self, monkeypatch, version):
        monkeypatch.setattr(api.importlib, "import_module", lambda name: TensorRTDouble(version))
        assert api.tensorrt().__version__ == version

    @pytest.mark.parametrize(
        "failure",
        [
            RuntimeError("The NVIDIA driver on your system is too old (found version 12040).\nMore."),
            AssertionError("Torch not compiled with CUDA enabled"),
        ],
    )
    def test_without_a_gpu_pytorchs_reason_and_the_cure_are_said(self, monkeypatch, failure):
        def fails() -> None:
            raise failure

        monkeypatch.setattr("torch.cuda.init", fails)
        with pytest.raises(PrerequisiteError) as refused:
            Gpu()
        assert f"no CUDA device can be used here ({str(failure).splitlines()[0]}); update the driver" in str(
            refused.value
        )
        assert "NVIDIA Container Toolkit" in str(refused.value)


class TestWhereNvidiasCannotBeAsked:
    """Versions that have no wheel, what TensorRT-RTX leaves out (timings), and what needs a GPU (loading a plan)."""

    @pytest.mark.parametrize("flavour", FLAVOURS)
    def test_the_network_is_strongly_typed_in_every_version(self, flavour, graphs):
        version, flag = FLAVOURS[flavour]
        trt = TensorRTDouble(version, flag=flag)
        built(trt, graphs["encoder"])
        assert trt.named("create_network") == [(1 << WithFlag.STRONGLY_TYPED if flag else 0,)]
        assert trt.named("set_flag") == []

    def test_timings_are_kept_and_used_again(self, trt, graphs, tmp_path):
        cache = tmp_path / "caches/a.timings"
        built(trt, graphs["encoder"], cache)
        assert cache.read_bytes() == b"+"
        built(trt, graphs["encoder"], cache)
        assert trt.named("set_timing_cache") == [(b"",), (b"+",)]
        assert cache.read_bytes() == b"++"
        assert [path.name for path in cache.parent.iterdir()] == ["a.timings"]

    def test_timings_that_tensorrt_refuses_are_as_good_as_none(self, trt, graphs, tmp_path):
        cache = tmp_path / "a.timings"
        cache.write_bytes(b"of another version")
        trt.refused_timings = {b"of another version"}
        built(trt, graphs["encoder"], cache)
        assert trt.named("set_timing_cache") == [(b"",)]

    def test_timings_of_another_gpu_or_version_are_not_looked_at(self, trt):
        def file(trt: TensorRTDouble, capability: str) -> str:
            return Bench(trt, CpuDevice(capability), Path("caches"), 1, QUIET).timings.name

        assert len({file(trt, "9.0"), file(trt, "8.9"), file(TensorRTDouble("11.1.0.106"), "9.0")}) == 3

    def test_no_timings_are_kept_of_a_failed_build(self, trt, graphs, tmp_path):
        trt.build_error = "could not find any implementation for node X"
        with pytest.raises(ArtefactError, match=r"encoder\.onnx: could not find any implementation for node X; free"):
            built(trt, graphs["encoder"], tmp_path / "cache")
        assert not (tmp_path / "cache").exists()

    def test_layers_are_inspected(self, trt, graphs):
        network, plan = built(trt, graphs["encoder"])
        assert json.loads(network.layers(plan, PLAIN))["Layers"][0]["LayerType"] == "gemm"

    @pytest.mark.parametrize(("inspects", "told"), [(True, "{nan"), (True, None), (False, None)])
    def test_an_engine_is_kept_whatever_is_told_of_its_layers(self, trt, graphs, inspects, told):
        trt.inspects, trt.layers = inspects, told
        network, plan = built(trt, graphs["encoder"])
        assert json.loads(network.layers(plan, PLAIN)) == {"unreadable": told}


class Spy:
    """NVIDIA's builder, and the profiles that it made."""

    def __init__(self, builder) -> None:
        self._builder, self.profiles = builder, []

    def __getattr__(self, name):
        return getattr(self._builder, name)

    def create_optimization_profile(self):
        self.profiles.append(self._builder.create_optimization_profile())
        return self.profiles[-1]


@pytest.mark.skipif(RTX is None, reason="TensorRT-RTX is not installed (make rtx)")
class TestNvidia:
    """NVIDIA's own parser and builder; engines of TensorRT-RTX cannot be loaded or run without a GPU."""

    @pytest.mark.parametrize("name", ["encoder", "ranker", "cross_encoder"])
    def test_makes_a_plan_of_every_profile(self, graphs, name):
        wanted = profiles(MODELS[name], LENGTHS, 4)
        network = Network.parsed(RTX, graphs[name])
        spied = replace(network, builder=Spy(network.builder))
        assert len(spied.serialised(wanted, PLAIN, console=QUIET)) > 1000
        assert len(wanted) > 1
        for made, profile in zip(spied.builder.profiles, wanted, strict=True):
            assert {name: made.get_shape(name) for name in profile} == {
                name: [one.min, one.opt, one.max] for name, one in profile.items()
            }

    def test_takes_our_options(self, graphs):
        """Building a refittable engine needs a GPU."""
        config = Network.parsed(RTX, graphs["encoder"]).builder.create_builder_config()
        configure(RTX, config, Options(version_compatible=True, refittable=True, workspace_mb=512))
        assert config.get_flag(RTX.BuilderFlag.VERSION_COMPATIBLE)
        assert config.get_flag(RTX.BuilderFlag.REFIT)
        assert config.get_memory_pool_limit(RTX.MemoryPoolType.WORKSPACE) == 512 * 2**20
        plain = Network.parsed(RTX, graphs["encoder"]).builder.create_builder_config()
        configure(RTX, plain, PLAIN)
        assert not any(plain.get_flag(flag) for flag in (RTX.BuilderFlag.VERSION_COMPATIBLE, RTX.BuilderFlag.REFIT))

    def test_names_the_node_that_the_parser_refuses(self, tmp_path):
        tiny.write_model(tmp_path / "g.onnx", DETERMINANT)
        with pytest.raises(ArtefactError, match=r"TensorRT's parser refuses .*g\.onnx: node .*\(Det\)"):
            Network.parsed(RTX, tmp_path / "g.onnx")

    def test_names_the_profile_that_the_builder_refuses(self, graphs):
        (profile, *_) = profiles(MODELS["encoder"], LENGTHS, 4)
        wrong = {name: one.model_copy(update={"min": one.max, "max": one.min}) for name, one in profile.items()}
        with pytest.raises(ArtefactError, match=r"refuses profile 0 of .*encoder\.onnx"):
            Network.parsed(RTX, graphs["encoder"]).serialised([wrong], PLAIN, console=QUIET)

    def test_a_failed_build_tells_its_reason(self, graphs):
        """A profile that leaves an input out."""
        (profile, *_) = profiles(MODELS["encoder"], LENGTHS, 4)
        del profile["attention_mask"]
        with pytest.raises(ArtefactError, match=r"builds no engine from .*encoder\.onnx: .*attention_mask"):
            Network.parsed(RTX, graphs["encoder"]).serialised([profile], PLAIN, console=QUIET)

    def test_a_plan_that_cannot_be_loaded_is_said_with_the_reason(self, graphs):
        network, _ = built(RTX, graphs["encoder"])
        with pytest.raises(ArtefactError, match=r"cannot load the plan that it built \(\[.*\); build it again"):
            network.layers(b"no plan", PLAIN)

    def test_only_the_last_errors_are_repeated(self):
        logger = api.make_logger(RTX)
        for number in range(5):
            logger.log(RTX.ILogger.Severity.ERROR, f"error {number}")
        logger.log(RTX.ILogger.Severity.WARNING, "a warning that is no cause")
        assert logger.cause() == "error 2; error 3; error 4"

    def test_phases_are_shown(self, graphs):
        shown = io.StringIO()
        built(RTX, graphs["encoder"], console=Console(file=shown, force_terminal=True))
        assert "Building engine" in shown.getvalue()

    def test_ctrl_c_ends_the_build_at_the_next_step(self, graphs, monkeypatch):
        pressed = threading.Event()

        def press(self, name, step):
            if not pressed.is_set():
                pressed.set()
                os.kill(os.getpid(), signal.SIGINT)
                self._cancelled.wait(30)
            return not self._cancelled.is_set()

        monkeypatch.setattr(Watch, "step_complete", press)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell takes from what it puts behind
        with pytest.raises(KeyboardInterrupt):
            built(RTX, graphs["encoder"])


def test_an_unknown_phase_is_no_failure():
    with progress(QUIET) as bar:
        watch = Watch(bar, threading.Event())
        assert watch.step_complete("never begun", 3)
        watch.phase_finish("never begun")
