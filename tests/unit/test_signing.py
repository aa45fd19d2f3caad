"""A release that was signed is served as it was signed, or not at all."""

import base64
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from build.workspace import file_digest
from deploy.containers import serve
from deploy.embedded import EmbeddedServer, EmbeddedSettings
from deploy.security import signing
from deploy.security.__main__ import main
from deploy.security.keys import write_new
from deploy.security.new_keys import make_keys
from shelfbridge.changes import MANIFEST
from shelfbridge.errors import ArtefactError, PrerequisiteError, SettingsError


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    write_new(folder, make_keys())
    write_new(folder / "other", make_keys())
    return folder


@pytest.fixture
def release(tmp_path: Path, keys: Path) -> Path:
    """A signed release of three files, and the link to it."""
    folder = tmp_path / "releases" / "3"
    for name in ("search/config.pbtxt", "encoder/3/model.onnx", "retrieve/3/model.py"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(os.urandom(40))
    (folder / "search/config.pbtxt").write_text(f'name: "search" # {os.urandom(20).hex()}')
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    files = {name: file_digest(folder / name) for name in names}
    (folder / "manifest.json").write_text(json.dumps({"release": 3, "files": files}))
    (folder.parent / "current").symlink_to("3")
    assert signing.sign(folder.parent / "current", keys / "release.key") == 3
    return folder


def contained(release: Path, keys: Path) -> serve.ContainerSettings:
    """Settings of a container that wants the release signed."""
    models, key = release.with_name("models"), keys / "release.pub"
    return serve.ContainerSettings(repository=release, config_name="cpu", release_key=key, models=models)


def served(release: Path, run_dir: Path, key: Path | None) -> None:
    """Start a server as far as its checks, which end at a port that cannot be had."""
    EmbeddedServer(EmbeddedSettings(repository=release, run_dir=run_dir, release_key=key, host="192.0.2.1")).up()


def change(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def add_version(file: Path) -> None:
    later = file.parents[1] / "4"
    later.mkdir()
    shutil.copy(file, later)


def add_compiled(file: Path) -> None:
    (file.parent / "__pycache__").mkdir()
    (file.parent / "__pycache__" / f"{file.stem}.cpython-311.pyc").write_bytes(b"")


def link(file: Path) -> None:
    file.rename(file.parents[3] / "elsewhere")
    file.symlink_to(file.parents[3] / "elsewhere")


def link_folder(file: Path) -> None:
    (file.parents[1] / "4").symlink_to(file.parent)


TAMPER: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (change, "retrieve/3/model.py is missing or was changed"),
    "removed": (Path.unlink, "retrieve/3/model.py is missing or was changed"),
    "another version": (add_version, "retrieve/4/model.py is not of the release"),
    "compiled": (add_compiled, "cpython-311.pyc is not of the release"),
    "linked": (link, "retrieve/3/model.py is missing or was changed"),
    "linked version": (link_folder, "retrieve/4 is not of the release"),
}


def test_as_signed(release: Path, keys: Path) -> None:
    assert signing.verify(release.parent / "current", keys / "release.pub") == 3


@pytest.mark.parametrize("how", TAMPER)
def test_tampered(release: Path, keys: Path, how: str) -> None:
    tamper, said = TAMPER[how]
    tamper(release / "retrieve/3/model.py")
    with pytest.raises(ArtefactError, match=said):
        signing.verify(release, keys / "release.pub")
    with pytest.raises(ArtefactError, match=said):
        signing.sign(release, keys / "release.key")


@settings(deadline=None)
@given(data=st.data())
def test_no_byte_of_manifest_or_signature_may_differ(
    tmp_path_factory: pytest.TempPathFactory, keys: Path, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("release")
    (folder / "a").write_text("a")
    (folder / "manifest.json").write_text(json.dumps({"files": {"a": file_digest(folder / "a")}}))
    signing.sign(folder, keys / "release.key")
    file = folder / data.draw(st.sampled_from([MANIFEST, signing.SIGNATURE]))
    content = file.read_bytes().strip()
    at = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at] and not bytes([byte]).isspace()))
    file.write_bytes(content[:at] + bytes([other]) + content[at + 1 :])
    with pytest.raises(ArtefactError, match="signed"):
        signing.verify(folder, keys / "release.pub")


def test_another_text_of_the_same_signature_is_refused(release: Path, keys: Path) -> None:
    file = release / signing.SIGNATURE
    text = file.read_bytes().strip()
    assert text.endswith(b"==")
    other = text[:-3] + bytes([text[-3] + 1]) + b"=="  # its last four bits do not count
    assert base64.b64decode(other, validate=True) == base64.b64decode(text)
    file.write_bytes(other)
    with pytest.raises(ArtefactError, match="signed"):
        signing.verify(release, keys / "release.pub")


def test_unsigned_signed_by_another_or_with_the_signature_of_another(release: Path, keys: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"manifest.json is not what the holder of"):
        signing.verify(release, keys / "other/release.pub")
    other = shutil.copytree(release, tmp_path / "other")
    change(other / "manifest.json")
    with pytest.raises(ArtefactError, match="is not what the holder of"):
        signing.verify(other, keys / "release.pub")
    (release / "manifest.sig").unlink()
    with pytest.raises(ArtefactError, match=r"manifest.sig is missing; sign"):
        signing.verify(release, keys / "release.pub")


@pytest.mark.parametrize("name", ["token.key", "archive.pub", "release.key", "nowhere"])
def test_only_a_release_key_will_do(release: Path, keys: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        signing.verify(release, keys / name)
    if name != "release.key":
        (keys / "archive.pub").chmod(0o600)
        with pytest.raises(SettingsError, match=name):
            signing.sign(release, keys / name)


class TestServer:
    def test_goes_on_with_what_was_signed(self, release: Path, keys: Path, tmp_path: Path) -> None:
        with pytest.raises(PrerequisiteError, match="Port"):
            served(release, tmp_path / "run", keys / "release.pub")

    def test_removes_what_python_compiled(self, release: Path, keys: Path, tmp_path: Path) -> None:
        add_compiled(release / "retrieve/3/model.py")
        with pytest.raises(PrerequisiteError, match="Port"):
            served(release, tmp_path / "run", keys / "release.pub")
        assert not list(release.rglob("*.pyc"))

    def test_refuses_what_was_altered_before_anything_else_and_names_the_file(
        self, release: Path, keys: Path, tmp_path: Path
    ) -> None:
        change(release / "encoder/3/model.onnx")
        with pytest.raises(ArtefactError, match=r"encoder/3/model\.onnx is missing or was changed"):
            served(release.parent / "current", tmp_path / "run", keys / "release.pub")
        with pytest.raises(PrerequisiteError, match="Port"):
            served(release, tmp_path / "run", None)

    def test_refuses_what_was_not_signed(self, release: Path, keys: Path, tmp_path: Path) -> None:
        (release / "manifest.sig").unlink()
        with pytest.raises(ArtefactError, match=r"manifest\.sig is missing"):
            served(release, tmp_path / "run", keys / "release.pub")


def test_the_program(release: Path, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sign", str(release), "--key", str(keys / "release.key")]) == 0
    verify = ["verify", str(release), "--public-key", str(keys / "release.pub")]
    assert main(verify) == 0
    assert "3 files" in capsys.readouterr().out
    change(release / "search/config.pbtxt")
    assert main(verify) == 1
    assert "search/config.pbtxt" in capsys.readouterr().err


class TestContainer:
    def test_what_was_signed_is_served(self, release: Path, keys: Path) -> None:
        assert serve.prepare(contained(release, keys))[0] == "tritonserver"

    def test_what_was_altered_is_not(self, release: Path, keys: Path) -> None:
        change(release / "encoder/3/model.onnx")
        with pytest.raises(ArtefactError, match=r"model\.onnx"):
            serve.prepare(contained(release, keys))

    def test_nor_what_another_signed(
        self, release: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("SHELFBRIDGE_RELEASE_KEY", str(keys / "other/release.pub"))
        monkeypatch.setattr(serve.os, "execvp", lambda *_: pytest.fail("served what was refused"))
        flags = ["--repository", str(release), "--config-name", "cpu", "--models", str(release.with_name("models"))]
        assert serve.main(flags) == 1
        assert "manifest.json is not what the holder of" in capsys.readouterr().err

    def test_an_empty_name_is_no_key(self, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        became = []
        monkeypatch.setenv("SHELFBRIDGE_RELEASE_KEY", "")
        monkeypatch.setattr(serve.os, "execvp", lambda file, line: became.append(file))
        (release / "manifest.sig").unlink()
        serve.main(["--repository", str(release), "--config-name", "cpu", "--models", str(release.with_name("models"))])
        assert became == ["tritonserver"]
