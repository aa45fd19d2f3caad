"""What no library of gRPC would send: frames and bytes of one's own."""

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from grpc import StatusCode

ENDED = "connection ended"
RESET = "stream reset"
SILENT = "no answer"
"""Within `PATIENCE`."""
PATIENCE = 0.3
"""Seconds without a byte until the other side is taken to say no more."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
LARGEST, WINDOW = 16_000, 60_000
"""Bytes of a frame, and of a stream that nobody has given room."""
_STATUS: dict[str, str] = {str(code.value[0]): code.name for code in StatusCode}
Headers = Sequence[tuple[str, str]]


@contextmanager
def connected(port: int, trusted: Path, own: Path | None, name: str) -> Iterator[ssl.SSLSocket]:
    """A connection under TLS.

    Args:
        port: on this machine.
        trusted: folder of ca.crt.
        own: folder of the gateway's certificate, where one is shown.
        name: in the other side's certificate.
    """
    context = ssl.create_default_context(cafile=str(trusted / "ca.crt"))
    context.set_alpn_protocols(["h2"])
    if own:
        context.load_cert_chain(own / "gateway.crt", own / "gateway.key")
    with _bare(port) as bare, context.wrap_socket(bare, server_hostname=name) as sock:
        yield sock


def plain(port: int, content: bytes) -> str:
    """Bytes without TLS."""
    with suppress(OSError), _bare(port) as sock:
        sock.sendall(content)
        _drain(sock)
    return ENDED


def frames(sock: ssl.SSLSocket, content: bytes) -> str:
    """Bytes after HTTP/2's preface."""
    sock.sendall(PREFACE + content)
    _drain(sock)
    return ENDED


def stream(sock: ssl.SSLSocket, path: str, headers: Headers, content: bytes, *, whole: bool) -> str:
    """One stream.

    Args:
        sock: under TLS.
        path: of the method.
        headers: take the place of the usual ones of their names.
        content: of its frames of data, up to `WINDOW`.
        whole: whether it is ended; else the connection is.

    Returns:
        The status in the answer, or how it ended without one.
    """
    config = h2.config.H2Configuration(
        header_encoding="latin-1",
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
        validate_inbound_headers=False,
    )
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    connection.send_headers(1, _with(headers, path))
    content = content[:WINDOW]
    for at in range(0, len(content), LARGEST):
        connection.send_data(1, content[at : at + LARGEST])
    if not whole:
        sock.sendall(connection.data_to_send())
        return ENDED
    connection.end_stream(1)
    sock.sendall(connection.data_to_send())
    return _answer(sock, connection)


def _with(headers: Headers, path: str) -> list[tuple[str, str]]:
    usual = {":method": "POST", ":scheme": "https", ":path": path, ":authority": "localhost", "te": "trailers"}
    given = {**usual, "content-type": "application/grpc", **dict(headers)}
    return sorted(given.items(), key=lambda pair: not pair[0].startswith(":"))


def _answer(sock: ssl.SSLSocket, connection: h2.connection.H2Connection) -> str:
    found: dict[str, str] = {}
    sock.settimeout(10 * PATIENCE)
    try:
        while data := sock.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    found |= {str(name): str(value) for name, value in event.headers or ()}
                if isinstance(event, h2.events.StreamEnded):
                    return _STATUS.get(found.get("grpc-status", ""), f"HTTP {found.get(':status')}")
                if isinstance(event, h2.events.StreamReset):
                    return RESET
            sock.sendall(connection.data_to_send())
    except TimeoutError:
        return SILENT
    except h2.exceptions.ProtocolError:
        return ENDED
    return ENDED


def _bare(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def _drain(sock: socket.socket) -> None:
    sock.settimeout(PATIENCE)
    while sock.recv(65536):
        pass
