"""Pseudonyms: what stands for a user wherever something is kept, and proof that a request is this user's.

Keyed, so that nobody without the key can try ids until a pseudonym fits. The key stays on the private side; whoever
loses it has lost every profile.
"""

import base64
import hmac
import os
import secrets
from pathlib import Path

from shelfbridge.errors import PermissionRefused, SettingsError
from shelfbridge.profiles.events import Event, Recorded

KEY_BYTES = 32
LENGTH = 26
"""Characters of a pseudonym or token: 130 bits of an HMAC-SHA256 in lower-case base 32."""


class Pseudonyms:
    """The pseudonyms and tokens of one key."""

    def __init__(self, key: bytes) -> None:
        """Take a key of at least 32 bytes.

        Raises:
            SettingsError: it is shorter.
        """
        if len(key) < KEY_BYTES:
            raise SettingsError(f"the key of pseudonyms has {len(key)} bytes; give {KEY_BYTES} random ones or more")
        self._key = key

    def of(self, user: str) -> str:
        """The pseudonym of a user's id."""
        return self._digest("user", user)

    def token(self, user: str) -> str:
        """Proof that a request is this user's; the shop gives it out at login."""
        return self._digest("token", user)

    def check(self, user: str, token: str) -> None:
        """Hold a token against a user, in constant time.

        Raises:
            PermissionRefused: it is not that user's.
        """
        if not hmac.compare_digest(self.token(user).encode(), token.encode(errors="replace")):
            raise PermissionRefused("the token is not this user's; let the user log in again")

    def record(self, event: Event) -> Recorded:
        """An event as it may be kept. Its id is hidden too, since shops put user ids into it."""
        kept = event.model_dump(exclude={"user", "event_id"})
        return Recorded(who=self.of(event.user), id=self._digest("event", event.user, event.event_id), **kept)

    def _digest(self, purpose: str, *parts: str) -> str:
        told_apart = "".join(f"{len(part)}:{part}" for part in (purpose, *parts))
        digest = hmac.digest(self._key, told_apart.encode(errors="surrogatepass"), "sha256")
        return base64.b32encode(digest).decode().lower()[:LENGTH]


def read_secret(path: Path) -> bytes:
    """What a key file holds, which its owner alone and, as orchestrators mount secrets, its group may read.

    Raises:
        SettingsError: it cannot be read, or others may read it.
    """
    try:
        if (mode := path.stat().st_mode & 0o777) & 0o037:
            raise SettingsError(f"{path}: has mode {mode:o}, so that others may read the key; chmod 600 {path}")
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; name a key file (python -m deploy.security keys)") from error


def load_or_make_key(path: Path) -> bytes:
    """The key that a file holds; made with mode 0600 if there is none.

    Raises:
        SettingsError: it cannot be read or written, others may read it, or it holds no key.
    """
    try:
        if not path.exists():
            _make(path)
        key = bytes.fromhex(read_secret(path).decode("ascii"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; name a file for the key of pseudonyms") from error
    except ValueError as error:
        raise SettingsError(f"{path}: not a key; it should hold {KEY_BYTES * 2} hexadecimal digits") from error
    if len(key) < KEY_BYTES:
        raise SettingsError(f"{path}: holds {len(key)} bytes of key; it should be {KEY_BYTES} or more")
    return key


def _make(path: Path) -> None:
    """Write a new key; of several processes one wins, and none sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(number, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(number)
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
