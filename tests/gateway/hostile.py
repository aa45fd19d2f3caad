"""Requests as no client library would send them: any bytes over gRPC, and any frames over HTTP/2."""

import socket
import ssl
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events

INFER = "/inference.GRPCInferenceService/ModelInfer"
Headers = Sequence[tuple[str, str]]


def framed(message: bytes, flag: int = 0, length: int | None = None) -> bytes:
    """A message with gRPC's prefix."""
    return struct.pack(">BI", flag, len(message) if length is None else length) + message


class Caller:
    """A connection of gRPC that sends bytes as they are."""

    def __init__(self, port: int, secrets: Path, token: str) -> None:
        credentials = grpc.ssl_channel_credentials((secrets / "ca.crt").read_bytes())
        self._channel = grpc.secure_channel(f"localhost:{port}", credentials)
        self._token = ("authorization", f"Bearer {token}")

    def send(self, message: bytes, path: str = INFER, headers: Headers = (), **options: Any) -> grpc.StatusCode:
        """The status of one call."""
        return self._status(self._channel.unary_unary(path), message, headers, **options)

    def send_all(self, messages: Iterable[bytes], headers: Headers = ()) -> grpc.StatusCode:
        """The status of one call with several messages."""
        return self._status(self._channel.stream_unary(INFER), iter(messages), headers)

    def close(self) -> None:
        self._channel.close()

    def _status(self, call: Any, message: Any, headers: Headers, **options: Any) -> grpc.StatusCode:
        try:
            call(message, metadata=[self._token, *headers], timeout=5, **options)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK


def over_http2(
    port: int,
    secrets: Path,
    chunks: Sequence[bytes],
    headers: Headers,
    trailers: Headers | None = None,
) -> dict[str, str]:
    """Send one request in frames of one's own; the headers and trailers of the answer."""
    context = ssl.create_default_context(cafile=str(secrets / "ca.crt"))
    context.set_alpn_protocols(["h2"])
    config = h2.config.H2Configuration(
        header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
    )
    found: dict[str, str] = {}
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        connection.send_headers(1, headers)
        for index, chunk in enumerate(chunks):
            connection.send_data(1, chunk, end_stream=trailers is None and index == len(chunks) - 1)
        if trailers is not None:
            connection.send_headers(1, trailers, end_stream=True)
        sock.sendall(connection.data_to_send())
        while data := sock.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    found |= dict(event.headers)
                if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated):
                    return found
            sock.sendall(connection.data_to_send())
    return found


def opening(token: str) -> list[tuple[str, str]]:
    """The headers of a request, but for its content-type."""
    return [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", INFER),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("authorization", f"Bearer {token}"),
    ]
