"""Tokens, good and worthless."""

import base64
import datetime
import hmac
import json
import time
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

from deploy.security.tokens import ALGORITHM, AUDIENCE, ISSUER, make_token

HOUR = datetime.timedelta(hours=1)
WORTHLESS = (
    "none",
    "expired",
    "not yet",
    "another key",
    "unsigned",
    "public key as secret",
    "no word",
    "another shop's",
)


def tokens(folder: Path, other: Path) -> dict[str, str | None]:
    """By name: a good one, one that may only search, and those of `WORTHLESS`.

    Args:
        folder: of the key that the gateway trusts.
        other: of one that it does not know.
    """
    everything: dict[str, Any] = {"subject": "fuzz", "roles": ("search", "recommend", "events", "admin")}
    key = folder / "token.key"
    good = make_token(key, residency="public-ok", expires=HOUR, **everything)
    _, body, _ = good.split(".")
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "fuzz", "roles": ["search"], "iat": now, "exp": now + 3600}
    own = ECKey.import_key(key.read_bytes())
    own.ensure_kid()
    header = {"alg": ALGORITHM, "kid": own.kid}
    return {
        "good": good,
        "search alone": make_token(key, subject="fuzz", roles=("search",), expires=HOUR),
        "none": None,
        "expired": make_token(key, expires=-HOUR, **everything),
        "not yet": jwt.encode(header, {**claims, "nbf": now + 3000}, own),
        "another key": make_token(other / "token.key", expires=HOUR, **everything),
        "unsigned": f"{_part({'alg': 'none', 'typ': 'JWT'})}.{body}.",
        "public key as secret": _confused(own, claims),
        "no word": "x" * 30,
        "another shop's": jwt.encode(header, {**claims, "aud": "another"}, own),
    }


def _confused(key: ECKey, claims: dict[str, Any]) -> str:
    """A token whose secret is what everybody may know, if the other side takes the header's word for the algorithm."""
    signed = f"{_part({'alg': 'HS256', 'kid': key.kid})}.{_part(claims)}"
    return f"{signed}.{_text(hmac.digest(key.as_pem(private=False), signed.encode(), 'sha256'))}"


def _part(content: dict[str, Any]) -> str:
    return _text(json.dumps(content).encode())


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
