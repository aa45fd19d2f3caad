"""An encrypted release opens with its key, whole, or not at all."""

import io
import os
import tarfile
from pathlib import Path

import pyrage
import pytest

from deploy.security import archive
from deploy.security.__main__ import main
from deploy.security.keys import write_new
from deploy.security.new_keys import make_keys
from shelfbridge.errors import ArtefactError, SettingsError


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    write_new(folder, make_keys())
    write_new(folder / "other", make_keys())
    return folder


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "releases" / "3"
    (folder / "search/3").mkdir(parents=True)
    (folder / "encoder/3").mkdir(parents=True)
    (folder / "encoder/3/model.onnx").write_bytes(b"in plain sight" + os.urandom(3 << 20))
    (folder / "manifest.json").write_text("{}")
    (folder.parent / "current").symlink_to("3")
    return folder


@pytest.fixture
def sealed(release: Path, keys: Path, tmp_path: Path) -> Path:
    archive.encrypt(release.parent / "current", keys / "archive.pub", tmp_path / "3.tar.age")
    return tmp_path / "3.tar.age"


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_comes_back_as_it_was(release: Path, sealed: Path, keys: Path, tmp_path: Path) -> None:
    archive.decrypt(sealed, keys / "archive.key", tmp_path / "back")
    assert tree(tmp_path / "back") == tree(release)
    content = sealed.read_bytes()
    assert content.startswith(b"age-encryption.org/v1")
    assert b"in plain sight" not in content
    assert b"model.onnx" not in content


def test_another_key_opens_nothing(sealed: Path, keys: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="cannot be decrypted"):
        archive.decrypt(sealed, keys / "other/archive.key", tmp_path / "back")
    assert not list(tmp_path.glob("*back*"))


@pytest.mark.parametrize("at", [0, 150, 5000, 1 << 20, -1])
def test_what_was_altered_or_cut_leaves_nothing(sealed: Path, keys: Path, tmp_path: Path, at: int) -> None:
    good = sealed.read_bytes()
    at %= len(good)
    for bad in (good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], good[:at]):
        sealed.write_bytes(bad)
        with pytest.raises(ArtefactError, match="cannot be decrypted"):
            archive.decrypt(sealed, keys / "archive.key", tmp_path / "back")
        assert not list(tmp_path.glob("*back*"))


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside-of-the-release"])
def test_no_file_is_written_outside(keys: Path, tmp_path: Path, name: str) -> None:
    """Anybody who has the public key may make an archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 4
        tar.addfile(info, io.BytesIO(b"evil"))
    recipient = pyrage.x25519.Recipient.from_str((keys / "archive.pub").read_text().strip())
    (tmp_path / "evil.age").write_bytes(pyrage.encrypt(packed.getvalue(), [recipient]))
    (tmp_path / "below").mkdir()
    before = set(tmp_path.rglob("*"))
    try:
        archive.decrypt(tmp_path / "evil.age", keys / "archive.key", tmp_path / "below" / "back")
    except ArtefactError:
        assert set(tmp_path.rglob("*")) == before
    assert not [path for path in (tmp_path / "outside", tmp_path / "below/outside", Path(name)) if path.exists()]


def test_nothing_is_overwritten(release: Path, sealed: Path, keys: Path, tmp_path: Path) -> None:
    before = sealed.read_bytes()
    with pytest.raises(ArtefactError, match="never overwritten"):
        archive.encrypt(release, keys / "archive.pub", sealed)
    assert sealed.read_bytes() == before
    (tmp_path / "back").mkdir()
    with pytest.raises(ArtefactError, match="never overwritten"):
        archive.decrypt(sealed, keys / "archive.key", tmp_path / "back")


def test_only_keys_of_archives_will_do(release: Path, sealed: Path, keys: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"release.pub: is no public key of age"):
        archive.encrypt(release, keys / "release.pub", tmp_path / "out.age")
    with pytest.raises(SettingsError, match=r"release.key: is no private key of age"):
        archive.decrypt(sealed, keys / "release.key", tmp_path / "back")


def test_the_program(release: Path, keys: Path, tmp_path: Path) -> None:
    out, back = str(tmp_path / "a.age"), str(tmp_path / "back")
    assert main(["encrypt", str(release), "--public-key", str(keys / "archive.pub"), "--out", out]) == 0
    assert main(["decrypt", out, "--key", str(keys / "archive.key"), "--out", back]) == 0
    assert tree(Path(back)) == tree(release)
    assert main(["decrypt", out, "--key", str(keys / "other/archive.key"), "--out", back + "2"]) == 1
