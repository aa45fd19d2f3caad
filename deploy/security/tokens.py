"""Tokens: who calls, in which roles, and whether the call may leave the private site. Signed with ES256."""

import datetime
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

from deploy.security.roles import Role
from shelfbridge.clock import Clock
from shelfbridge.errors import SettingsError
from shelfbridge.profiles.pseudonym import read_secret

ISSUER = "shelfbridge"
AUDIENCE = "triton"
ALGORITHM = "ES256"
LONGEST = datetime.timedelta(days=1)
"""How long a token may live: the gateway takes none that ends later."""
Residency = Literal["public-ok", "pseudonymous-ok"]
"""What the claim says where anonymous catalogue search may leave the private site, or also one whose user is a
pseudonym (`shelfbridge.profiles.Pseudonyms.of`); without it nothing may."""


def make_token(
    key: Path,
    *,
    subject: str,
    roles: Sequence[Role],
    residency: Residency | None = None,
    expires: datetime.timedelta,
    clock: Clock = time.time,
) -> str:
    """A token, signed with the key in a file.

    Raises:
        SettingsError: it would live too long, the file holds no key for ES256, or others may read it.
    """
    if expires > LONGEST:
        raise SettingsError(f"a token may live {LONGEST} at most, not {expires}; make one when the last has ended")
    signing, now = _read(key), clock()
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": subject,
        "roles": list(roles),
        "iat": int(now),
        "exp": int(now + expires.total_seconds()),
        "jti": secrets.token_hex(16),
        **({"residency": residency} if residency else {}),
    }
    return jwt.encode({"alg": ALGORITHM, "typ": "JWT", "kid": signing.kid}, claims, signing)


def make_jwks(keys: Sequence[Path]) -> dict[str, object]:
    """The public halves of keys, for the gateway. Two while one takes the other's place.

    Raises:
        SettingsError: a file holds no key for ES256, or others may read it.
    """
    return dict(KeySet([_read(key) for key in keys]).as_dict(private=False))


def _read(path: Path) -> ECKey:
    secret = read_secret(path)
    try:
        key = ECKey.import_key(secret, {"alg": ALGORITHM, "use": "sig"})
        if not key.is_private or key.curve_name != "P-256":
            raise SettingsError(f"{path}: is no private P-256 key; make one (python -m deploy.security keys)")
    except (ValueError, TypeError, JoseError) as error:
        raise SettingsError(f"{path}: no key can be read of it; make one (python -m deploy.security keys)") from error
    key.ensure_kid()
    return key
