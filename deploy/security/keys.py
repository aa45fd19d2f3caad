"""Key files: secrets that only their owner (and a group, as orchestrators mount them) may read."""

import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shelfbridge.errors import SettingsError


def private_pem(key: PrivateKeyTypes) -> bytes:
    """A private key as its file holds it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_new(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files that are not there yet, the keys (`*.key`) with mode 0600.

    Raises:
        SettingsError: one is there, or the folder cannot be written; then none is written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder / name for name in files):
            if os.path.lexists(path):
                raise SettingsError(f"{path} exists and is never overwritten; move it away, or give another folder")
        for name, content in files.items():
            mode = 0o600 if name.endswith(".key") else 0o644
            number = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(number, "wb") as file:
                file.write(content)
    except OSError as error:
        raise SettingsError(f"{folder}: {error.strerror}; give a folder that can be written") from error
