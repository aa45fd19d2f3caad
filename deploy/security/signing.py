"""Signed releases: a release is what its manifest says, and the manifest is what the signer signed.

The signature lies beside the manifest, in `manifest.sig`. A file that the manifest does not name is refused as well:
Triton would load another version folder, and Python a compiled file, that somebody puts there.
"""

import base64
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from shelfbridge.changes import MANIFEST
from shelfbridge.errors import ArtefactError, SettingsError
from shelfbridge.profiles.pseudonym import read_secret

SIGNATURE = "manifest.sig"


def sign(release: Path, key: Path) -> int:
    """Sign a whole release; an older signature is replaced.

    Returns:
        How many files it holds.

    Raises:
        ArtefactError: it is not what its manifest says.
        SettingsError: the key cannot be used.
    """
    try:
        private = load_pem_private_key(read_secret(key), password=None)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{key}: no private key can be read of it (python -m deploy.security keys)") from error
    if not isinstance(private, ed25519.Ed25519PrivateKey):
        raise SettingsError(f"{key}: is no Ed25519 key; make one (python -m deploy.security keys)")
    release = release.resolve()
    manifest = _read(release / MANIFEST)
    count = _check_files(release, manifest)
    draft = release.parent / f".{release.name}.{SIGNATURE}"
    draft.write_bytes(base64.b64encode(private.sign(manifest)) + b"\n")
    draft.replace(release / SIGNATURE)
    return count


def verify(release: Path, public_key: Path) -> int:
    """Check that a release is what the holder of the key signed, to the last file.

    Returns:
        How many files it holds.

    Raises:
        ArtefactError: it is unsigned, signed by another, or a file was changed, removed or added.
        SettingsError: the public key cannot be used.
    """
    try:
        public = load_pem_public_key(public_key.read_bytes())
    except OSError as error:
        raise SettingsError(f"{public_key}: {error.strerror}; name the file of the release key") from error
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{public_key}: no public key can be read of it; name release.pub") from error
    if not isinstance(public, ed25519.Ed25519PublicKey):
        raise SettingsError(f"{public_key}: is no Ed25519 key; name release.pub")
    release = release.resolve()
    manifest = _read(release / MANIFEST)
    try:
        public.verify(_signature(_read(release / SIGNATURE).strip()), manifest)
    except (InvalidSignature, ValueError) as error:
        raise ArtefactError(
            f"{release / MANIFEST} is not what the holder of {public_key} signed; take the release from its maker again"
        ) from error
    return _check_files(release, manifest)


def remove_bytecode(release: Path) -> None:
    """Remove what Python compiled while the release was served: Triton's Python heeds no setting against it."""
    for folder in release.resolve().glob("*/*/__pycache__"):
        shutil.rmtree(folder, ignore_errors=True)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        cure = "sign the release (python -m deploy.security sign)" if path.name == SIGNATURE else "build it again"
        raise ArtefactError(f"{path} is missing; {cure}") from error
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read ({error.strerror}); let the server's user read it") from error


def _signature(text: bytes) -> bytes:
    """Out of the one text that says it: base64's last character has bits that do not count."""
    found = base64.b64decode(text, validate=True)
    if base64.b64encode(found) != text:
        raise ValueError("not as base64 is written")
    return found


def _check_files(release: Path, manifest: bytes) -> int:
    """Hold the files of a folder against the manifest's bytes, those that were signed."""
    try:
        files: Mapping[str, str] = json.loads(manifest)["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{release / MANIFEST} names no files; build the release again") from error
    present = {str(path.relative_to(release)) for path in release.rglob("*") if path.is_symlink() or not path.is_dir()}
    if strange := sorted(present - files.keys() - {MANIFEST, SIGNATURE}):
        raise ArtefactError(f"{release / strange[0]} is not of the release; remove it")
    for name, digest in files.items():
        path = release / name
        if path.is_symlink() or not path.is_file() or _digest(path) != digest:
            raise ArtefactError(f"{path} is missing or was changed since the release was made; take it anew")
    return len(files)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
