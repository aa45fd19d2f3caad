"""How a client reaches its server: transport options chosen for searches, TLS, and the token.

gRPC's own defaults suit long calls to a server that stays: a broken connection is tried again after 1 s, then up to
120 s later, and one that died silently is noticed after minutes. A search has 2 s. The values here say what a search
needs instead.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonclient.grpc import MAX_GRPC_MESSAGE_SIZE

from shelfbridge.errors import SettingsError


@dataclass(frozen=True)
class Connection:
    """Transport options. The defaults suit a server beside the caller as well as one across a WAN."""

    keepalive_s: float = 20.0
    """Seconds between the pings that find out whether the peer still lives. They are sent only while a search is
    under way: a Triton server with default options drops a connection whose client pings while idle."""
    keepalive_timeout_s: float = 5.0
    """Seconds a ping, or any data sent, may stay unacknowledged before the connection is given up and made anew."""
    reconnect_s: float = 0.05
    """Seconds before the first attempt to connect again; each further one waits 1.6 times as long."""
    reconnect_max_s: float = 2.0
    """Longest wait in seconds between two attempts to connect: how late a client may notice that its server is back."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            check_seconds(name, value)

    def channel_args(self) -> list[tuple[str, int]]:
        """The options in gRPC's terms. Each client has a connection of its own."""
        return [
            ("grpc.max_send_message_length", MAX_GRPC_MESSAGE_SIZE),
            ("grpc.max_receive_message_length", MAX_GRPC_MESSAGE_SIZE),
            ("grpc.keepalive_time_ms", _milliseconds(self.keepalive_s)),
            ("grpc.keepalive_timeout_ms", _milliseconds(self.keepalive_timeout_s)),
            ("grpc.keepalive_permit_without_calls", 0),
            ("grpc.initial_reconnect_backoff_ms", _milliseconds(self.reconnect_s)),
            ("grpc.max_reconnect_backoff_ms", _milliseconds(self.reconnect_max_s)),
            ("grpc.use_local_subchannel_pool", 1),
        ]


@dataclass(frozen=True)
class TLS:
    """An encrypted connection, from PEM files."""

    root: Path | str | None = None
    """Certificates of the authorities to trust; None trusts those that gRPC brings."""
    certificate: Path | str | None = None
    """The client's own certificate chain, where the server asks for one; goes with `key`."""
    key: Path | str | None = None
    """The private key of `certificate`."""

    def arguments(self) -> dict[str, Any]:
        """The arguments for tritonclient's clients, each file looked at first.

        Raises:
            SettingsError: a file is missing or not PEM, or only one of `certificate` and `key` is given.
        """
        if (self.certificate is None) != (self.key is None):
            raise SettingsError("tls: a client certificate and its key go together; give both or neither")
        return {
            "ssl": True,
            "root_certificates": _pem("root certificates", self.root),
            "private_key": _pem("client key", self.key),
            "certificate_chain": _pem("client certificate", self.certificate),
        }


def check_seconds(name: str, value: float) -> float:
    """`value`, if it is a time that a client can wait.

    Raises:
        SettingsError: it is not a number above 0 and at most a day.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 86400:
        raise SettingsError(f"{name} is {value!r}; give seconds, above 0 and at most 86400")
    return float(value)


def token_header(token: str | None) -> dict[str, str]:
    """The header that carries the token; nothing without one.

    Raises:
        SettingsError: the token cannot stand in a header. The message does not show it.
    """
    if token is None:
        return {}
    if not isinstance(token, str) or not is_visible_ascii(token):
        raise SettingsError("token: not one word of visible ASCII characters; remove blanks and line ends")
    return {"authorization": f"Bearer {token}"}


def is_visible_ascii(text: str) -> bool:
    """Whether a text has characters, and each of them is in U+0021..U+007E."""
    return bool(text) and all("!" <= c <= "~" for c in text)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _pem(what: str, path: Path | str | None) -> Path | None:
    if path is None:
        return None
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"tls: {what} {path}: {error.strerror}; give the path of a PEM file") from error
    if b"-----BEGIN " not in content:
        raise SettingsError(f"tls: {what} {path}: not PEM; convert it with `openssl x509` or `openssl pkey`")
    return Path(path)
