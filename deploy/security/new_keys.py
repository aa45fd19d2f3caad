"""New keys: of tokens, releases, archives and the audit log."""

import secrets

import pyrage
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.security.keys import private_pem


def make_keys() -> dict[str, bytes]:
    """New keys by file name: secret ones, and the public halves of those that have one."""
    release, archive = ed25519.Ed25519PrivateKey.generate(), pyrage.x25519.Identity.generate()
    public = release.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "token.key": private_pem(ec.generate_private_key(ec.SECP256R1())),
        "release.key": private_pem(release),
        "release.pub": public,
        "archive.key": f"{archive}\n".encode(),
        "archive.pub": f"{archive.to_public()}\n".encode(),
        "audit.key": f"{secrets.token_hex(32)}\n".encode(),
    }
