"""Encrypted releases: a tar in the age format, for a disk or a road that is not trusted.

What is decrypted is whole, but anybody who has the public key may have made it: verify its signature too.
"""

import os
import secrets
import shutil
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyrage

from shelfbridge.errors import ArtefactError, SettingsError
from shelfbridge.profiles.pseudonym import read_secret


def encrypt(release: Path, public_key: Path, archive: Path) -> None:
    """Write a release to an archive that only the holder of the private key can read. No plain copy touches the disk.

    Raises:
        ArtefactError: there is no such release, or an archive of that name.
        SettingsError: the public key cannot be used.
    """
    try:
        recipient = pyrage.x25519.Recipient.from_str(public_key.read_text("ascii").strip())
    except OSError as error:
        raise SettingsError(f"{public_key}: {error.strerror}; name archive.pub") from error
    except (ValueError, pyrage.RecipientError) as error:
        raise SettingsError(f"{public_key}: is no public key of age; name archive.pub") from error
    release = release.resolve()
    if not release.is_dir():
        raise ArtefactError(f"{release} is no release; name the folder of one")
    with _unfinished(archive) as draft:
        with draft.open("xb") as file, _beside(lambda pipe: _pack(release, pipe), reading=False) as plain:
            pyrage.encrypt_io(plain, file, [recipient])
            file.flush()
            os.fsync(file.fileno())
        draft.rename(archive)


def decrypt(archive: Path, key: Path, release: Path) -> None:
    """Unpack an archive into a new folder, which appears when all of it was read and was genuine.

    Raises:
        ArtefactError: it is damaged, cut, for another key, or the folder is there.
        SettingsError: the key cannot be used.
    """
    try:
        identity = pyrage.x25519.Identity.from_str(read_secret(key).decode("ascii").strip())
    except (ValueError, pyrage.IdentityError) as error:
        raise SettingsError(f"{key}: is no private key of age; name archive.key") from error
    try:
        with _unfinished(release) as draft:
            draft.mkdir()
            with archive.open("rb") as file, _beside(lambda pipe: _unpack(pipe, draft), reading=True) as plain:
                pyrage.decrypt_io(file, plain, [identity])
            draft.rename(release)
    except (pyrage.DecryptError, OSError, tarfile.TarError) as error:
        raise ArtefactError(f"{archive} cannot be decrypted ({error}); use its key, or fetch it again") from error


def _pack(release: Path, pipe: IO[bytes]) -> None:
    with tarfile.open(fileobj=pipe, mode="w|") as tar:
        for path in sorted(release.rglob("*")):
            tar.add(path, arcname=str(path.relative_to(release)), recursive=False)


def _unpack(pipe: IO[bytes], folder: Path) -> None:
    with tarfile.open(fileobj=pipe, mode="r|") as tar:
        tar.extractall(folder, filter="data")
    while pipe.read(1 << 20):  # the padding, so that the writer is not cut off
        pass


@contextmanager
def _beside(work: Callable[[IO[bytes]], None], *, reading: bool) -> Iterator[IO[bytes]]:
    """One end of a pipe; `work` has the other, in a thread that is waited for and whose error is raised here."""
    read, write = os.pipe()
    ends: tuple[IO[bytes], IO[bytes]] = os.fdopen(read, "rb"), os.fdopen(write, "wb")
    other, mine = ends if reading else ends[::-1]

    def run() -> None:
        with other:
            work(other)

    with ThreadPoolExecutor(1) as thread:
        under_way = thread.submit(run)
        try:
            with mine:
                yield mine
        except BrokenPipeError:
            pass  # the other end failed, and its error says why
    under_way.result()


@contextmanager
def _unfinished(target: Path) -> Iterator[Path]:
    """A name beside the target for what is not whole yet; whatever is left under it goes."""
    if os.path.lexists(target):
        raise ArtefactError(f"{target} exists and is never overwritten; give another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        yield draft
    finally:
        shutil.rmtree(draft) if draft.is_dir() else draft.unlink(missing_ok=True)
