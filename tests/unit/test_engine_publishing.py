"""A release with engines is a new one beside the old, published when all is proved."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from build.engines import __main__ as program
from build.engines.builder import Options
from build.engines.checks import master_session
from build.engines.publishing import masters
from build.engines.runtime import EngineSession
from build.release.publish import publish, verify, write_manifest
from deploy.containers import serve
from shelfbridge.engine import read_record
from shelfbridge.errors import ArtefactError
from shelfbridge.release import read_manifest
from tests.unit.engine_double import CpuDevice
from tests.unit.engine_samples import MASTERS, NETWORKS, OF_SHELF, content, names, run, write_release
from tests.unit.tensorrt_double import TensorRTDouble


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An `out` folder with release 1 in it; not to be changed."""
    return write_release(tmp_path_factory.mktemp("engines"))


@pytest.fixture
def out(built, tmp_path, monkeypatch):
    """A copy of it, and batches small enough for a test."""
    shutil.copytree(built, tmp_path / "out", symlinks=True)
    monkeypatch.setattr(program.configs, "max_batch", lambda config: 2)
    return tmp_path / "out"


@pytest.fixture
def trt():
    return TensorRTDouble()


@pytest.fixture(scope="module")
def published(built, tmp_path_factory):
    """An `out` folder with release 2, made of 1 by the program; not to be changed."""
    out = tmp_path_factory.mktemp("published") / "out"
    shutil.copytree(built, out, symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program.configs, "max_batch", lambda config: 2)
        run(out, TensorRTDouble())
    return out


class TestPublishing:
    @pytest.fixture
    def made(self, published):
        return published / "releases/2"

    def test_makes_the_next_release_current_and_leaves_the_old_as_it_was(self, built, published):
        assert names(published / "releases") == {"1", "2", "current"}
        assert (published / "releases/current").readlink() == Path("2")
        assert content(published / "releases/1") == content(built / "releases/1")
        verify(published / "releases/2")

    def test_every_model_is_in_the_new_version_folder(self, made):
        assert {path.name for path in made.glob("*/*") if path.is_dir()} == {"2", "configs"}
        for name in NETWORKS:
            here = {path.name for path in (made / name / "2").iterdir()}
            assert here == {
                *(*MASTERS, "model.onnx", "model.plan"),
                *("engine.json", "engine_layers.json", "engine_checks.json"),
            }

    def test_unchanged_files_take_no_more_room(self, published, made):
        for name in ("retrieve/{}/tokens.npy", "encoder/{}/int8.onnx", "preprocess/{}/model.py"):
            assert (made / name.format(2)).samefile(published / "releases/1" / name.format(1))

    def test_the_manifest_tells_of_the_engines_and_keeps_the_rest(self, published, made):
        before, now = read_manifest(published / "releases/1"), read_manifest(made)
        assert now["release"] == 2
        assert now["engines"] == {
            "precision": "int8",
            "gpu": CpuDevice.name,
            "tools": now["engines"]["tools"],
            "of_release": 1,
        }
        assert now["engines"]["tools"]["tensorrt"] == "10.15.1.29"
        for name in ("base", "made_from", "tools"):
            assert now[name] == before[name]
        assert {"ranker/2/model.plan", "ranker/2/engine.json", "lengths.json"} <= set(now["files"])

    def test_the_container_would_serve_it(self, made, monkeypatch):
        monkeypatch.setattr(serve, "tensorrt_version", lambda: "10.15.1")
        monkeypatch.setattr(serve, "compute_capabilities", lambda: {CpuDevice.name: "9.0"})
        assert (
            serve.prepare(serve.ContainerSettings(repository=made, models=made.with_name("models")))[0]
            == "tritonserver"
        )

    def test_the_build_takes_it_for_the_release_that_it_was_made_of(self, out, trt, built):
        made = run(out, trt)
        parts = {path.name: path for path in (built.parent / "tiny").iterdir() if path.is_dir() and any(path.iterdir())}
        assert publish(out / "releases", parts=parts, about={}) == made

    def test_engines_are_built_once_and_anew_for_another_option(self, out, trt):
        first = run(out, trt)
        steps = len(trt.named("step"))
        second = run(out, trt)
        assert len(trt.named("step")) == steps
        assert (second / "ranker/3/model.plan").samefile(first / "ranker/2/model.plan")
        third = run(out, trt, options=Options(version_compatible=True))
        assert len(trt.named("step")) == 2 * steps
        assert read_record(third / "encoder/4/engine.json").version_compatible
        assert not read_record(first / "encoder/2/engine.json").version_compatible
        for made in (first, second, third):
            verify(made)


class TestRefusing:
    @pytest.fixture(autouse=True)
    def _all_as_it_was(self, out):
        before = content(out / "releases")
        yield
        assert content(out / "releases") == before
        assert names(out / "releases") == {"1", "current"}
        assert (out / "releases/current").readlink() == Path("1")

    def test_a_failed_build_leaves_all_as_it_was(self, out, trt):
        trt.build_error = "no implementation"
        with pytest.raises(ArtefactError, match="no implementation"):
            run(out, trt)
        assert "Refused: ArtefactError: TensorRT builds no engine" in (out / "report/engine_report.md").read_text()

    def test_an_interrupted_build_leaves_all_as_it_was_and_goes_on_later(self, out, trt, monkeypatch):
        def stop() -> None:
            if len(trt.named("step")) > 8:
                raise KeyboardInterrupt

        trt.during_build = stop
        with pytest.raises(KeyboardInterrupt):
            run(out, trt)
        (kept,) = [path for path in (out / "stages/engine-encoder").iterdir() if path.is_dir()]
        assert (kept / "model.plan").is_file()
        assert [path.name for path in (out / "stages/engine-ranker").iterdir()] == [".lock"]

    def test_engines_that_answer_otherwise_are_not_published(self, out, trt):
        trt.outputs_times = 1.2
        with pytest.raises(ArtefactError, match=r"encoder, profile 0, min .* differs from its master"):
            run(out, trt)

    def test_a_failure_at_the_last_step_leaves_all_as_it_was(self, out, trt, monkeypatch):
        def fails(*_: object) -> None:
            raise ArtefactError("a config cannot be written")

        monkeypatch.setattr("build.engines.publishing.configs.adapt", fails)
        with pytest.raises(ArtefactError, match="cannot be written"):
            run(out, trt)

    def test_a_release_that_is_not_current_is_refused(self, out, trt):
        shutil.copytree(out / "releases/1", out / "other/1")
        with pytest.raises(ArtefactError, match="is not the current release"):
            run(out, trt, release=out / "other/1")


def test_a_release_published_meanwhile_is_not_replaced(out, trt):
    def publish_another() -> None:
        if (out / "releases/current").readlink() == Path("1"):
            shutil.copytree(out / "releases/1", out / "releases/2")
            (out / "releases/.next").symlink_to("2")
            (out / "releases/.next").replace(out / "releases/current")

    trt.during_build = publish_another
    with pytest.raises(ArtefactError, match="is another release than 1, which the engines were built for"):
        run(out, trt)
    assert (out / "releases/current").readlink() == Path("2")
    assert names(out / "releases") == {"1", "2", "current"}


def without(release: Path, file: str) -> None:
    """Take a file out of a release as if it had never been in it."""
    (release / file).unlink()
    (release / "manifest.json").unlink()
    write_manifest(release, number=1, about={})


def test_a_release_without_masters_is_refused_before_the_long_work(out, trt):
    for name in (*NETWORKS, *OF_SHELF):
        without(out / "releases/1", f"{name}/1/int8.onnx")
    with pytest.raises(ArtefactError, match=r"encoder/1/int8\.onnx is missing: this release has no int8 masters"):
        run(out, trt)
    assert trt.calls == []


@pytest.mark.parametrize(
    ("precision", "cure"),
    [
        ("fp16", "the quick preset writes none: build the release by python -m build --preset full"),
        ("int8", "without --precision fp32"),
        ("fp32", "build the release again"),
    ],
)
def test_each_missing_precision_has_a_cure_of_its_own(out, precision, cure):
    for name in NETWORKS:
        (out / f"releases/1/{name}/1/{precision}.onnx").unlink()
    with pytest.raises(ArtefactError, match=f"has no {precision} masters; .*{cure}"):
        masters(out / "releases/1", precision, NETWORKS)


class TestInt8ThatDidNotPass:
    """The build kept a network in fp32, so its release has int8 masters of the others alone."""

    @pytest.fixture(params=[*NETWORKS, *OF_SHELF])
    def name(self, out, request):
        without(out / "releases/1", f"{request.param}/1/int8.onnx")
        return request.param

    def test_fp16_takes_its_place(self, out, name):
        found = masters(out / "releases/1", "int8", (*NETWORKS, *OF_SHELF))
        assert {model: path.name for model, path in found.items()} == {
            **dict.fromkeys(found, "int8.onnx"),
            name: "fp16.onnx",
        }

    def test_without_fp16_the_reason_and_the_cure_are_said(self, out, name):
        without(out / "releases/1", f"{name}/1/fp16.onnx")
        with pytest.raises(ArtefactError) as refused:
            masters(out / "releases/1", "int8", (*NETWORKS, *OF_SHELF))
        assert f"{name}/1/fp16.onnx is missing: the model has no int8 master either" in str(refused.value)
        assert "int8 did not pass (manifest.json says why under decisions)" in str(refused.value)
        assert "--precision fp32" not in str(refused.value)


def test_an_engine_in_fp16_beside_int8_ones_says_so(out, trt):
    without(out / "releases/1", "encoder/1/int8.onnx")
    made = run(out, trt)
    assert read_record(made / "encoder/2/engine.json").precision == "fp16"
    assert read_record(made / "ranker/2/engine.json").precision == "int8"
    assert "| encoder | fp16 |" in (out / "report/engine_report.md").read_text()


def test_a_release_without_fp32_is_refused_before_the_long_work(out, trt):
    without(out / "releases/1", "encoder/1/fp32.onnx")
    with pytest.raises(ArtefactError, match=r"encoder/1/fp32\.onnx is missing"):
        run(out, trt)
    assert trt.calls == []


def test_a_failing_engine_does_not_keep_the_others_from_being_built(out, trt):
    def fails(shapes: dict[str, tuple[int, ...]]) -> None:
        if "input_ids" in shapes:
            raise MemoryError("CUDA out of memory")

    trt.during_run = fails
    with pytest.raises(ArtefactError, match="encoder, profile 0"):
        run(out, trt)
    record = json.loads((out / "report/engine_report.json").read_text())
    assert set(record["engines"]) == {*NETWORKS, *OF_SHELF}
    assert all(seen["refused"] for seen in record["engines"]["encoder"]["checks"])
    assert not any(seen["refused"] for seen in record["engines"]["ranker"]["checks"])


def test_a_changed_release_is_refused_before_the_long_work(out, trt):
    (out / "releases/1/search/config.pbtxt").write_text("changed")
    with pytest.raises(ArtefactError, match="was changed since the release was made"):
        run(out, trt)
    assert trt.calls == []


def test_vectors_of_the_small_models_are_kept_by_the_engine(out, trt):
    """The engines' Ensembles rank like the masters': the sessions are interchangeable."""
    made = run(out, trt)
    engine = EngineSession(made / "encoder/2", trt=trt, device=CpuDevice())
    ids, mask = np.array([[2, 5, 9, 3]]), np.ones((1, 4), np.int64)
    wanted = master_session(made / "encoder/2/int8.onnx").run(None, {"input_ids": ids, "attention_mask": mask})
    for one, other in zip(engine.run(None, {"input_ids": ids, "attention_mask": mask}), wanted, strict=True):
        np.testing.assert_array_equal(one, other)
