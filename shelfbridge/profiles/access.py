"""How the steps of a server reach profiles: what its environment says, and who may see whose."""

import os
from dataclasses import dataclass
from math import inf
from pathlib import Path

from shelfbridge.errors import InvalidQuery, PermissionRefused, SettingsError
from shelfbridge.profiles.pseudonym import Pseudonyms, load_or_make_key
from shelfbridge.profiles.store import RETENTION_DAYS, ProfileStore, open_store

PROFILES, KEY_FILE, USER_TOKENS = "SHELFBRIDGE_PROFILES", "SHELFBRIDGE_KEY_FILE", "SHELFBRIDGE_USER_TOKENS"
RETENTION = "SHELFBRIDGE_RETENTION_DAYS"
"""Environment variables: address of the store; file of the key of pseudonyms; whether a user's token must come; days
that events are kept, which a server and the consumers of its store have to agree on."""
MAX_USER_BYTES = 256


@dataclass(frozen=True)
class Access:
    """A store, and the names under which it knows users."""

    store: ProfileStore
    pseudonyms: Pseudonyms
    tokens_required: bool

    @classmethod
    def open(cls) -> "Access":
        """What the environment names; the store need not be reachable yet.

        Raises:
            SettingsError: a variable is missing or cannot be used.
            PrerequisiteError: the client of Redis is not installed.
        """
        missing = [name for name in (PROFILES, KEY_FILE) if not os.environ.get(name)]
        if missing:
            raise SettingsError(f"{' and '.join(missing)} not set; name the store of profiles and its key's file")
        tokens = os.environ.get(USER_TOKENS, "optional")
        if tokens not in ("required", "optional"):
            raise SettingsError(f"{USER_TOKENS} is {tokens!r}; set it to required or optional")
        pseudonyms = Pseudonyms(load_or_make_key(Path(os.environ[KEY_FILE])))
        return cls(open_store(os.environ[PROFILES], retention_days=retention_days()), pseudonyms, tokens == "required")

    def who(self, user: str, token: str | None) -> str:
        """The user's pseudonym.

        Raises:
            PermissionRefused: the token is not the user's, or there is none and one is required.
        """
        if token:
            self.pseudonyms.check(user, token)
        elif self.tokens_required:
            raise PermissionRefused("this server asks for the user's token; send the one given out at login")
        return self.pseudonyms.of(user)


def retention_days() -> float:
    """Days that events are kept, as the environment says.

    Raises:
        SettingsError: it is no number above 0.
    """
    text = os.environ.get(RETENTION) or str(RETENTION_DAYS)
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 0 < days < inf:
        raise SettingsError(f"{RETENTION} is {text!r}; set it to the days that events are kept, as 365")
    return days


def check_user(raw: bytes | None) -> str | None:
    """The caller's user, an opaque key; None where none is given.

    Raises:
        InvalidQuery: not UTF-8, or longer than `MAX_USER_BYTES`.
    """
    if not raw:
        return None
    if len(raw) > MAX_USER_BYTES:
        raise InvalidQuery(f"user is {len(raw)} bytes long; send at most {MAX_USER_BYTES}")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidQuery(f"user is not UTF-8 (byte {error.start}); encode it as UTF-8") from None
