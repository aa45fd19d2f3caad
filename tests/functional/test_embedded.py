"""The life of an embedded server: what it says, what it leaves behind, and what stops it from starting."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy import ROOT
from deploy.embedded import EmbeddedServer, EmbeddedSettings, ServerError, State, wheel
from deploy.embedded.__main__ import main
from deploy.embedded.wheel import shared_memory_prefix
from shelfbridge.errors import PrerequisiteError
from shelfbridge.program import INTERRUPTED
from tests.functional.conftest import free_ports

MakeSettings = Callable[..., EmbeddedSettings]


@pytest.fixture
def small(repository: Path, tmp_path: Path) -> Path:
    """A repository of two models: quicker to start."""
    for model in ("preprocess", "encoder"):
        shutil.copytree(repository / model, tmp_path / "small" / model)
    return tmp_path / "small"


def shared_memory(settings: EmbeddedSettings) -> list[str]:
    prefix = shared_memory_prefix(settings.run_dir)
    return [name for name in os.listdir("/dev/shm") if name.startswith(prefix)]


def test_up_status_logs_down(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--run-dir", str(tmp_path / "run")]
    names = ("--grpc-port", "--http-port", "--metrics-port")
    ports = [word for name, port in zip(names, free_ports(3), strict=True) for word in (name, str(port))]
    # In a process of its own, as a user starts it: the server must outlive it
    command = [
        sys.executable,
        "-m",
        "deploy.embedded",
        "up",
        "--repository",
        str(small),
        "--steps",
        "apart",
        "--profiles",
        "redis://shop:pass-word@127.0.0.1:1/0",
        *folder,
        *ports,
    ]
    started = subprocess.run(command, capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stderr
    assert "redis://***@127.0.0.1:1/0" in started.stdout
    for text in (started.stdout, *(file.read_text() for file in (tmp_path / "run").glob("*.*") if file.is_file())):
        assert "pass-word" not in text

    assert main(["status", *folder]) == 0
    shown = capsys.readouterr().out
    assert "encoder" in shown
    assert "Ready" in shown
    assert ports[1] in shown

    assert main(["up", "--repository", str(small), *folder]) == 1
    assert "a server runs already" in capsys.readouterr().err

    assert main(["logs", "-n", "5", *folder]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5

    assert main(["down", *folder]) == 0
    assert main(["status", *folder]) == 3
    assert main(["down", *folder]) == 0
    assert "No server was running" in capsys.readouterr().out
    assert not shared_memory(EmbeddedSettings(run_dir=tmp_path / "run"))


def test_taken_port(small: Path, make_settings: MakeSettings) -> None:
    settings = make_settings(small, "apart")
    with socket.socket() as other:
        other.bind((settings.host, settings.grpc_port))
        other.listen()
        with pytest.raises(PrerequisiteError, match=rf"Port {settings.grpc_port} for grpc .*choose another \(--grpc-"):
            EmbeddedServer(settings).up()


def test_no_repository(make_settings: MakeSettings, tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="holds no model; build a release, or give --repository"):
        EmbeddedServer(make_settings(tmp_path)).up()


def test_corrupt_model_is_named(small: Path, make_settings: MakeSettings) -> None:
    settings = make_settings(small, "apart")
    model = small / "encoder/1/model.onnx"
    model.write_bytes(model.read_bytes()[:1000])
    with pytest.raises(ServerError, match=rf"model encoder: {model} cannot be read as an ONNX model .*again"):
        EmbeddedServer(settings).up()
    assert not shared_memory(settings)
    assert not EmbeddedServer(settings).status().running


def test_model_of_other_tensors_is_named(small: Path, repository: Path, make_settings: MakeSettings) -> None:
    shutil.copy(repository / "ranker/1/model.onnx", small / "encoder/1/model.onnx")
    with pytest.raises(ServerError, match="has no input 'input_ids' as its config wants; it has token_vectors"):
        EmbeddedServer(make_settings(small, "apart")).up()


def test_missing_index_is_named(repository: Path, make_settings: MakeSettings, tmp_path: Path) -> None:
    shutil.copytree(repository / "postprocess", tmp_path / "one/postprocess")
    (tmp_path / "one/postprocess/1/ids.npy").unlink()
    with pytest.raises(ServerError, match=r"model postprocess: .*/ids\.npy cannot be read .*build the release again"):
        EmbeddedServer(make_settings(tmp_path / "one", "apart")).up()
    with pytest.raises(PrerequisiteError, match=r"no ensemble .*--steps apart"):
        EmbeddedServer(make_settings(tmp_path / "one")).up()


@pytest.mark.parametrize("end", ["down", "up"])
def test_what_a_killed_server_leaves_is_ended(small: Path, make_settings: MakeSettings, end: str) -> None:
    settings = make_settings(small, "apart")
    killed = EmbeddedServer(settings)
    killed.up()
    state = killed.status().state
    assert state is not None
    os.kill(state.pid, signal.SIGKILL)
    left = stubs(settings)
    assert left
    assert shared_memory(settings)
    server = EmbeddedServer(settings)
    getattr(server, end)()
    assert not left & stubs(settings)
    for each in (server, killed):
        each.down()
    assert not stubs(settings)
    assert not shared_memory(settings)


def stubs(settings: EmbeddedSettings) -> set[str]:
    """Processes of the models in Python, those of other servers left out."""
    found = subprocess.run(["pgrep", "-f", str(settings.run_dir / "backends")], capture_output=True, check=False)
    return set(found.stdout.decode().split())


def test_killed_server_is_noticed_and_can_be_started_again(small: Path, make_settings: MakeSettings) -> None:
    server = EmbeddedServer(make_settings(small, "apart"))
    server.up()
    state = server.status().state
    assert state is not None
    os.kill(state.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while server.status().running and time.monotonic() < deadline:
        time.sleep(0.05)
    found = server.status()
    assert (found.running, found.state) == (False, state)
    assert found.crash
    assert server.log_file.stat().st_size > 0
    server.down()
    assert not shared_memory(server.settings)
    with server:
        assert server.status().ready


@pytest.fixture
def detached(small: Path, make_settings: MakeSettings) -> Iterator[EmbeddedServer]:
    """A server for `up` in a process of its own, as a user starts it; down at the end, whatever the test did."""
    server = EmbeddedServer(make_settings(small, "apart"))
    yield server
    server.down()


def up(server: EmbeddedServer) -> list[str]:
    """The command that starts it."""
    return [sys.executable, "-m", "deploy.embedded", "up", *server.settings.flags()]


def killed(server: EmbeddedServer, ready: bool) -> State:
    """The next one, once it is there, or answers."""
    first = server.state
    assert first is not None
    os.kill(first.pid, signal.SIGSEGV)
    deadline = time.monotonic() + 30
    while (state := server.state) is None or state.pid == first.pid or (ready and not state.ready):
        assert time.monotonic() < deadline, server.keeper_log.read_text()
        time.sleep(0.02)
    return state


def assert_down(server: EmbeddedServer) -> None:
    time.sleep(0.5)
    assert (server.state, server.status().kept) == (None, False)
    assert not stubs(server.settings)
    assert not shared_memory(server.settings)


def test_a_kept_server_that_dies_comes_back(detached: EmbeddedServer, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(up(detached), check=True, capture_output=True, cwd=ROOT)
    folder = ["--run-dir", str(detached.settings.run_dir)]
    assert [killed(detached, ready=True).deaths for _ in range(2)] == [1, 2]
    assert main(["status", *folder]) == 0
    assert "died and was started again: 2 times" in capsys.readouterr().out
    with pytest.raises(ServerError, match="runs already"):
        detached.up()
    assert detached.status().kept  # who was refused has ended nothing
    assert main(["down", *folder]) == 0
    assert_down(detached)


def test_what_is_started_again_is_the_release_that_was_served(
    small: Path, detached: EmbeddedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`current` may have moved on meanwhile: that is for the next `up` to take up."""
    current = tmp_path / "current"
    current.symlink_to(small)
    detached.settings = detached.settings.model_copy(update={"repository": current})
    subprocess.run(up(detached), check=True, capture_output=True, cwd=ROOT)
    shutil.copytree(small, tmp_path / "next")
    current.unlink()
    current.symlink_to(tmp_path / "next")
    state = killed(detached, ready=True)
    assert state.settings.repository == small.resolve()
    assert main(["status", "--run-dir", str(detached.settings.run_dir)]) == 0
    assert f"Release {small.resolve()}" in capsys.readouterr().out


def test_taken_down_while_it_is_started_again(detached: EmbeddedServer) -> None:
    subprocess.run(up(detached), check=True, capture_output=True, cwd=ROOT)
    killed(detached, ready=False)
    detached.down()
    assert_down(detached)


def test_who_stops_a_start_leaves_nothing(detached: EmbeddedServer) -> None:
    with subprocess.Popen(up(detached), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT) as starting:
        deadline = time.monotonic() + 30
        while detached.state is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        starting.terminate()
        assert starting.stderr
        assert starting.stderr.read() == b"stopped\n"
    assert starting.returncode == INTERRUPTED
    assert_down(detached)


@pytest.fixture
def another_triton(tmp_path: Path) -> Path:
    """The wheel's parts as they lie in NVIDIA's containers, under /opt/tritonserver."""
    made, ours = tmp_path / "opt", wheel.packages() / "pytriton/tritonserver"
    for folder in ("bin", "caches", "backends"):
        shutil.copytree(ours / folder, made / folder)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(ours / "python_backend_stubs" / version / wheel.STUB, made / "backends/python" / wheel.STUB)
    shutil.copytree(wheel.packages() / "nvidia_pytriton.libs", made / "lib")
    return made


def test_another_triton_serves(small: Path, make_settings: MakeSettings, another_triton: Path) -> None:
    settings = make_settings(small, "apart").model_copy(update={"triton": another_triton})
    with EmbeddedServer(settings) as server:
        state = server.state
        assert state is not None
        assert Path(f"/proc/{state.pid}/exe").readlink() == another_triton / "bin/tritonserver"
        mapped = Path(f"/proc/{state.pid}/maps").read_text()
        assert f"{another_triton}/lib/libtritonserver" in mapped
        assert str(wheel.packages()) not in mapped
        assert server.status().ready


def test_a_folder_without_triton_is_named(small: Path, make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings(small, "apart").model_copy(update={"triton": tmp_path})
    with pytest.raises(PrerequisiteError, match="holds no bin/tritonserver"):
        EmbeddedServer(settings).up()
