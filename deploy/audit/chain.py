"""Sealed lines: each holds the seal of the one before, and only who has the key can make a seal.

A line is a JSON object whose last field is `seal`, the HMAC-SHA256 of the bytes before it. `before` is the seal of the
line before, so a line can be neither altered, moved nor taken out without the key.
"""

import hmac
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shelfbridge.errors import SettingsError, ShelfbridgeError
from shelfbridge.profiles.pseudonym import read_secret

KEY_BYTES = 32
_SEALED = re.compile(rb'(\{.*),"seal":"([0-9a-f]{64})"\}\n', re.DOTALL)


class BrokenChain(ShelfbridgeError):
    """The log is not what was written."""


@dataclass(frozen=True)
class Link:
    """A line that the next one follows."""

    number: int
    seal: str


START = Link(0, "0" * 64)


@dataclass(frozen=True)
class Line:
    """A line of a log file that was found good."""

    link: Link
    fields: Mapping[str, Any]
    end: int
    """Bytes of the file up to its end."""


class Chain:
    """The seals of one key."""

    def __init__(self, key: bytes) -> None:
        self._keys = {kind: hmac.digest(key, kind.encode(), "sha256") for kind in ("line", "head")}

    def seal(self, kind: Literal["line", "head"], fields: Mapping[str, Any]) -> tuple[bytes, str]:
        """Fields as a sealed line, and its seal."""
        text = json.dumps(fields, separators=(",", ":")).encode()[:-1]
        seal = hmac.digest(self._keys[kind], text, "sha256").hex()
        return b'%b,"seal":"%b"}\n' % (text, seal.encode()), seal

    def open(self, kind: Literal["line", "head"], line: bytes) -> tuple[dict[str, Any], str]:
        """The fields of a sealed line, and its seal.

        Raises:
            ValueError: it was not sealed so.
        """
        match = _SEALED.fullmatch(line)
        if match is None or not hmac.compare_digest(
            hmac.digest(self._keys[kind], match[1], "sha256").hex().encode(), match[2]
        ):
            raise ValueError("not sealed with this key")
        fields: dict[str, Any] = json.loads(match[1] + b"}")
        return fields, match[2].decode()

    def read(self, path: Path, after: Link | None) -> Iterator[Line]:
        """The lines of a file in turn; `after` is the line before them, None where that is not to be checked.

        Raises:
            BrokenChain: a line is not the one that belongs there; the message names file, line and what was found.
        """
        end = 0
        with path.open("rb") as file:
            for place, raw in enumerate(file, 1):
                where = f"{path}, line {place}"
                if not raw.endswith(b"\n"):
                    raise BrokenChain(f"{where}: is cut; {_RESTART}")
                try:
                    fields, seal = self.open("line", raw)
                except ValueError as error:
                    raise BrokenChain(f"{where}: was altered, or sealed with another key; {_RESTORE}") from error
                link, end = Link(fields["number"], seal), end + len(raw)
                if after and link.number != after.number + 1:
                    raise BrokenChain(
                        f"{where}: number {after.number + 1} is missing or was moved, number {link.number} stands in "
                        f"its place; {_RESTORE}"
                    )
                if after and fields["before"] != after.seal:
                    raise BrokenChain(f"{where}: does not follow the line before it; {_RESTORE}")
                after = link
                yield Line(link, fields, end)


def read_chain(path: Path) -> Chain:
    """Return the chain of the key in a file.

    Raises:
        SettingsError: it holds none, or others may read it.
    """
    try:
        key = bytes.fromhex(read_secret(path).decode("ascii"))
    except ValueError as error:
        raise SettingsError(f"{path}: not a key; it should hold {KEY_BYTES * 2} hexadecimal digits") from error
    if len(key) < KEY_BYTES:
        raise SettingsError(f"{path}: holds {len(key)} bytes of key; it should be {KEY_BYTES} or more")
    return Chain(key)


_RESTORE = "compare with a copy of the log"
_RESTART = "if the collector was killed it mends this when it starts again, else compare with a copy of the log"
