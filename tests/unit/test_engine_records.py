"""Who may load a plan, and what the Triton container does before it becomes the server."""

import hashlib
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from deploy.containers import serve
from shelfbridge.engine import EngineRecord, Range, plan_refusal, read_record, refusal
from shelfbridge.errors import ArtefactError, PrerequisiteError
from shelfbridge.profiles import access
from shelfbridge.program import FAILED

CONTAINERS = Path(serve.__file__).parent
PLAN = b"a plan"
RECORD = EngineRecord(
    model="ranker",
    precision="int8",
    tensorrt="10.15.1.29",
    gpu="NVIDIA L4",
    compute_capability="8.9",
    plan_sha256=hashlib.sha256(PLAN).hexdigest(),
    master="int8.onnx",
    master_sha256="",
    profiles=({"signals": Range(min=(1, 100, 12), opt=(1, 100, 12), max=(1, 100, 12))},),
    version_compatible=False,
    refittable=False,
    workspace_mb=None,
    build_seconds=12.5,
)
COMPATIBLE = RECORD.model_copy(update={"version_compatible": True})


class TestRefusal:
    @pytest.mark.parametrize("version", ["10.15.1", "10.15.1.29", "10.15.1.30"])
    def test_the_version_that_built_it_may_load_it(self, version):
        assert refusal(RECORD, version, "8.9") is None

    @pytest.mark.parametrize("version", ["10.15.0", "10.15.2", "10.16.1", "10.14.1", "11.1.0"])
    def test_another_version_may_not(self, version):
        message = refusal(RECORD, version, "8.9")
        assert message == (
            f"ranker: its plan was built by TensorRT 10.15.1, but this is {version}; "
            "build the engines again in the container that serves them (make engines)"
        )

    @pytest.mark.parametrize("version", ["10.15.1", "10.15.2", "10.16.0"])
    def test_a_newer_minor_version_may_load_a_compatible_plan(self, version):
        assert refusal(COMPATIBLE, version, "8.9") is None

    @pytest.mark.parametrize("version", ["10.15.0", "10.14.9", "11.0.0", "9.99.0"])
    def test_an_older_one_or_another_major_may_not(self, version):
        assert "TensorRT 10.15.1" in str(refusal(COMPATIBLE, version, "8.9"))

    @pytest.mark.parametrize("record", [RECORD, COMPATIBLE])
    def test_another_architecture_may_not(self, record):
        message = str(refusal(record, "10.15.1", "9.0"))
        assert "compute capability 8.9 (NVIDIA L4), but this GPU has 9.0; build the engines again" in message

    def test_a_version_that_is_none_is_said_to_be(self):
        with pytest.raises(ArtefactError, match="'ten' is no TensorRT version"):
            refusal(RECORD, "ten", "8.9")

    def test_the_recorded_plan_is_accepted(self, tmp_path):
        (tmp_path / "model.plan").write_bytes(PLAN)
        assert plan_refusal(RECORD, tmp_path / "model.plan") is None

    def test_a_changed_or_missing_plan_is_refused(self, tmp_path):
        plan = tmp_path / "model.plan"
        assert "cannot be read" in str(plan_refusal(RECORD, plan))
        plan.write_bytes(PLAN + b"!")
        assert "was changed since it was built; build the engines again" in str(plan_refusal(RECORD, plan))


class TestRecord:
    def test_is_read_as_it_was_written(self, tmp_path):
        (tmp_path / "engine.json").write_text(RECORD.model_dump_json())
        assert read_record(tmp_path / "engine.json") == RECORD

    @pytest.mark.parametrize("content", [None, "", "{}", RECORD.model_dump_json().replace("int8", "int3")])
    def test_anything_else_is_refused(self, tmp_path, content):
        if content is not None:
            (tmp_path / "engine.json").write_text(content)
        with pytest.raises(ArtefactError, match=r"engine\.json.*build the engines again"):
            read_record(tmp_path / "engine.json")


def library(number: int):
    return lambda name: SimpleNamespace(getInferLibVersion=lambda: number)


class TestMachine:
    @pytest.mark.parametrize(
        ("number", "version"), [(101501, "10.15.1"), (100000, "10.0.0"), (110100, "11.1.0"), (120003, "12.0.3")]
    )
    def test_the_librarys_number_is_decoded(self, number, version):
        assert serve.tensorrt_version(library(number)) == version

    def test_the_older_encoding_is_refused(self):
        with pytest.raises(PrerequisiteError, match="8601, older than TensorRT 10"):
            serve.tensorrt_version(library(8601))

    def test_the_newest_library_is_asked_first(self):
        asked = []

        def load(name: str):
            asked.append(name)
            if name.endswith(".11"):
                raise OSError("no such file")
            return library(101501)(name)

        assert serve.tensorrt_version(load) == "10.15.1"
        assert asked == ["libnvinfer.so.11", "libnvinfer.so.10"]

    def test_no_library_is_said_with_its_cure(self):
        def fails(name: str) -> None:
            raise OSError("no such file")

        with pytest.raises(PrerequisiteError, match=r"libnvinfer was not found.*--config-name cpu"):
            serve.tensorrt_version(fails)

    def test_the_gpus_are_asked_for(self):
        said = SimpleNamespace(stdout="NVIDIA L4, 8.9\nNVIDIA H100 80GB HBM3, 9.0\n")
        assert serve.compute_capabilities(lambda *a, **k: said) == {"NVIDIA L4": "8.9", "NVIDIA H100 80GB HBM3": "9.0"}

    @pytest.mark.parametrize(
        "failure", [FileNotFoundError("nvidia-smi"), subprocess.CalledProcessError(9, "nvidia-smi")]
    )
    def test_no_driver_is_said_with_its_cure(self, failure):
        def fails(*_: object, **__: object) -> None:
            raise failure

        with pytest.raises(PrerequisiteError, match=r"no GPU can be asked for.*docker run --gpus all"):
            serve.compute_capabilities(fails)

    def test_no_gpu_is_said_with_its_cure(self):
        with pytest.raises(PrerequisiteError, match="sees no GPU; start the container with its GPU"):
            serve.compute_capabilities(lambda *a, **k: SimpleNamespace(stdout="No devices were found\n"))


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Two models, one with an engine, on a machine that may serve it."""
    for name, platform in (("ranker", "tensorrt_plan"), ("search", "ensemble")):
        (tmp_path / name / "3").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(f'name: "{name}"\nplatform: "{platform}"\n')
    (tmp_path / "ranker/3/engine.json").write_text(RECORD.model_dump_json())
    (tmp_path / "ranker/3/model.plan").write_bytes(PLAN)
    monkeypatch.setattr(serve, "tensorrt_version", lambda: "10.15.1")
    monkeypatch.setattr(serve, "compute_capabilities", lambda: {"NVIDIA L4": "8.9"})
    return tmp_path


def models_of(repository: Path) -> Path:
    return repository.with_name("models")


def prepare(repository: Path, config_name: str | None, others: list[str]) -> list[str]:
    settings = serve.ContainerSettings(repository=repository, config_name=config_name, models=models_of(repository))
    return serve.prepare(settings, others)


class TestServing:
    def test_fitting_engines_are_served(self, repository):
        assert prepare(repository, None, ["--log-verbose=1"]) == [
            "tritonserver",
            f"--model-repository={models_of(repository)}",
            "--disable-auto-complete-config",
            "--log-verbose=1",
        ]

    def test_the_cache_is_there_for_the_encoder_on_a_cpu(self, repository):
        assert "--cache-config=local,size=16777216" in prepare(repository, "cpu", [])

    def test_instances_and_the_cache_are_settings(self, repository, monkeypatch):
        became = []
        monkeypatch.setattr(serve.os, "execvp", lambda file, line: became.append(line))
        (repository / "ranker/config.pbtxt").write_text('name: "ranker" instance_group [ { count: 2 } ]')
        monkeypatch.setenv("SHELFBRIDGE_INSTANCES", "7")
        flags = ["--repository", str(repository), "--models", str(models_of(repository)), "--config-name", "cpu"]
        serve.main([*flags, "--query-cache", "3"])
        assert "--cache-config=local,size=3145728" in became[0]
        assert "count: 7" in (models_of(repository) / "ranker/config.pbtxt").read_text()
        assert "count: 2" in (repository / "ranker/config.pbtxt").read_text()
        serve.main([*flags, "--query-cache", "0"])
        assert not [flag for flag in became[1] if "cache-config" in flag]

    def test_compatible_plans_are_announced_to_triton(self, repository):
        (repository / "ranker/3/engine.json").write_text(COMPATIBLE.model_dump_json())
        assert "--backend-config=tensorrt,version-compatible=true" in prepare(repository, None, [])

    def test_every_reason_is_named(self, repository, monkeypatch):
        monkeypatch.setattr(serve, "compute_capabilities", lambda: {"NVIDIA H100": "9.0", "NVIDIA L4": "8.9"})
        (repository / "ranker/3/model.plan").write_bytes(b"another")
        with pytest.raises(ArtefactError) as refused:
            prepare(repository, None, [])
        first, second = str(refused.value).splitlines()
        assert "this GPU has 9.0" in first
        assert "was changed since it was built" in second

    def test_a_model_without_its_engine_is_named(self, repository):
        (repository / "ranker/3/engine.json").unlink()
        with pytest.raises(ArtefactError, match="no engine for ranker; run make engines"):
            prepare(repository, None, [])

    def test_the_graphs_are_served_without_asking_for_a_gpu(self, repository, monkeypatch):
        monkeypatch.setattr(serve, "compute_capabilities", lambda: pytest.fail("asked for a GPU"))
        (repository / "ranker/3/model.plan").write_bytes(b"another")
        assert "--model-config-name=cpu" in prepare(repository, "cpu", [])

    def test_an_empty_folder_is_no_repository(self, tmp_path):
        with pytest.raises(ArtefactError, match="holds no model"):
            prepare(tmp_path, None, [])

    def test_the_process_becomes_the_server(self, repository, monkeypatch):
        became = []
        monkeypatch.setattr(serve.os, "execvp", lambda file, line: became.append((file, line)))
        serve.main(["--repository", str(repository), "--models", str(models_of(repository)), "--http-port=9000"])
        assert became == [("tritonserver", prepare(repository, None, ["--http-port=9000"]))]

    def test_a_refusal_ends_it_with_the_reason(self, repository, monkeypatch, capsys):
        monkeypatch.setattr(serve, "tensorrt_version", lambda: "11.1.0")
        monkeypatch.setattr(serve.os, "execvp", lambda *_: pytest.fail("served what was refused"))
        assert serve.main(["--repository", str(repository)]) == FAILED
        said = capsys.readouterr().err
        assert "error: ranker: its plan was built by TensorRT 10.15.1, but this is 11.1.0" in said


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((CONTAINERS / "compose.yaml").read_text())


class TestContainers:
    def test_every_service_takes_the_one_tag(self, compose):
        assert set(compose["services"]) == {"engines", "triton"}
        for service in compose["services"].values():
            assert service["build"]["args"]["TAG"].startswith("${SHELFBRIDGE_NVIDIA_TAG:?")
        settings = dict(
            line.split("=", 1)
            for line in (CONTAINERS / ".env").read_text().splitlines()
            if line and not line.startswith("#")
        )
        assert list(settings) == ["SHELFBRIDGE_NVIDIA_TAG"]
        assert settings["SHELFBRIDGE_NVIDIA_TAG"].endswith("-py3")

    @pytest.mark.parametrize("service", ["engines", "triton"])
    def test_dockerfiles_start_from_that_tag_and_copy_what_is_there(self, compose, service):
        build = compose["services"][service]["build"]
        context = (CONTAINERS / build["context"]).resolve()
        lines = (context / build["dockerfile"]).read_text().splitlines()
        bases = [line for line in lines if line.startswith("FROM")]
        assert len(bases) == 1
        assert bases[0].endswith(":${TAG}")
        copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]]
        assert copied
        assert [name for name in copied if not (context / name).exists()] == []

    @pytest.mark.parametrize("service", ["engines", "triton"])
    def test_services_get_a_gpu_and_no_more_rights_than_they_need(self, compose, service):
        wanted = compose["services"][service]
        (device,) = wanted["deploy"]["resources"]["reservations"]["devices"]
        assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
        assert wanted["read_only"] is True
        assert wanted["cap_drop"] == ["ALL"]
        assert wanted["security_opt"] == ["no-new-privileges:true"]
        assert not {"privileged", "cap_add", "devices", "pid", "network_mode"} & set(wanted)
        assert wanted["user"].split(":")[0] not in ("0", "root")

    def test_the_server_cannot_write_to_releases(self, compose):
        releases, profiles, key = compose["services"]["triton"]["volumes"]
        assert key["read_only"] is True
        assert releases["read_only"] is True
        assert "read_only" not in profiles
        assert "USER 1000:1000" in (CONTAINERS / "Dockerfile.triton").read_text()

    @pytest.mark.parametrize("service", ["engines", "triton"])
    def test_a_folder_that_is_missing_is_not_made_by_docker(self, compose, service):
        for volume in compose["services"][service]["volumes"]:
            if volume["type"] == "bind":
                assert volume["bind"] == {"create_host_path": False}
            else:
                assert volume["source"] in compose["volumes"]

    def test_profiles_and_their_key_outlive_the_container(self, compose):
        triton = compose["services"]["triton"]
        assert access.PROFILES in triton["environment"]
        assert triton["environment"][access.KEY_FILE].startswith("/profiles/")
        assert triton["volumes"][1]["target"] == "/profiles"
        assert "chown 1000:1000 /profiles" in (CONTAINERS / "Dockerfile.triton").read_text()

    def test_a_release_key_is_mounted_and_named_where_it_is_given(self, compose):
        triton = compose["services"]["triton"]
        key = triton["volumes"][2]
        assert triton["environment"]["SHELFBRIDGE_RELEASE_KEY"] == f"${{SHELFBRIDGE_RELEASE_KEY:+{key['target']}}}"
        assert key["source"] == "${SHELFBRIDGE_RELEASE_KEY:-/dev/null}"

    def test_both_see_the_same_out_folder(self, compose):
        (out, *_), (releases, *_) = (compose["services"][name]["volumes"] for name in ("engines", "triton"))
        assert releases["source"] == f"{out['source']}/releases"

    def test_a_server_that_is_refused_at_start_is_not_started_for_ever(self, compose):
        assert compose["services"]["triton"]["restart"].startswith("on-failure:")

    @pytest.mark.parametrize("dockerfile", ["Dockerfile.engines", "Dockerfile.triton"])
    def test_the_images_own_constraints_do_not_bind_pip(self, dockerfile):
        assert "PIP_CONSTRAINT= " in (CONTAINERS / dockerfile).read_text()

    def test_a_venv_can_be_made_and_the_code_does_not_invalidate_it(self):
        text = (CONTAINERS / "Dockerfile.engines").read_text()
        assert text.index("python3-venv") < text.index("python3 -m venv")
        before = text[: text.index("pip install")]
        assert [line for line in before.splitlines() if line.startswith("COPY")] == ["COPY requirements.lock ./"]


class TestMake:
    """`make engines`, with a docker that says what it was told."""

    @pytest.fixture
    def make(self, tmp_path):
        (tmp_path / "bin").mkdir()
        docker = tmp_path / "bin/docker"
        docker.write_text('#!/bin/sh\necho "SHELFBRIDGE_OUT=$SHELFBRIDGE_OUT $@"\n')
        docker.chmod(0o755)

        def make(*variables: str) -> subprocess.CompletedProcess[str]:
            line = ["make", "-C", str(CONTAINERS.parents[1]), "engines", f"OUT={tmp_path / 'out'}", *variables]
            path = f"{docker.parent}:{os.environ['PATH']}"
            return subprocess.run(line, env={"PATH": path}, capture_output=True, text=True, check=False)

        return make

    @pytest.fixture
    def released(self, tmp_path):
        (tmp_path / "out/sample").mkdir(parents=True)
        for name in ("products.jsonl", "judgments.tsv"):
            (tmp_path / "out/sample" / name).touch()
        (tmp_path / "out/releases/1").mkdir(parents=True)
        (tmp_path / "out/releases/current").symlink_to("1")
        return tmp_path / "out"

    def test_ndcg_is_measured_by_what_the_release_was_built_from(self, make, released):
        said = make().stdout
        assert f"SHELFBRIDGE_OUT={released} compose" in said
        assert f"-v {released}/sample/products.jsonl:/catalogue/products.jsonl:ro" in said
        assert "--catalogue /catalogue/products.jsonl --judgments /judgments/judgments.tsv" in said
        assert "--unjudged" not in said

    def test_it_can_be_left_out_on_purpose(self, make, released):
        said = make("ENGINE_JUDGMENTS=", "ENGINE_FLAGS=--unjudged").stdout
        assert "--unjudged" in said
        assert "--catalogue" not in said
        assert " -v " not in said

    def test_without_a_release_it_says_what_to_do(self, make):
        found = make()
        assert found.returncode != 0
        assert "releases/current does not exist; build a release first: make demo" in found.stderr

    def test_without_the_judgments_it_says_what_to_give(self, make, released):
        found = make("ENGINE_JUDGMENTS=/none/judgments.tsv")
        assert found.returncode != 0
        assert "/none/judgments.tsv does not exist; give ENGINE_CATALOGUE and ENGINE_JUDGMENTS" in found.stderr
