"""Sends attacks through the gateway, and past it with the gateway's own certificate."""

import socket
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc

from loadtests.fuzz.attack import Attack, Way

OK = "OK"
ENDED = "connection ended"
"""Without an answer of gRPC's."""
LONGEST_S = 5.0
"""That frames wait for what the other side says to them."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
LARGEST = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
PRIVATE_NAME = "private.triton"


class Sender:
    """Connections of both ways, shared by threads.

    Args:
        ports: of the gateway and of the private site.
        secrets: folder of certificates.
        tokens: by their names.
    """

    def __init__(self, ports: Mapping[Way, int], secrets: Path, tokens: Mapping[str, str | None]) -> None:
        self._ports, self._secrets, self._tokens = ports, secrets, tokens
        ca, key, certificate = ((secrets / name).read_bytes() for name in ("ca.crt", "gateway.key", "gateway.crt"))
        own = grpc.ssl_channel_credentials(ca, key, certificate)
        named = [*LARGEST, ("grpc.ssl_target_name_override", PRIVATE_NAME)]
        self.channels: dict[Way, Any] = {
            "gateway": grpc.secure_channel(f"localhost:{ports['gateway']}", grpc.ssl_channel_credentials(ca), LARGEST),
            "direct": grpc.secure_channel(f"localhost:{ports['direct']}", own, named),
        }

    def send(self, attack: Attack) -> tuple[str, float]:
        """How it ended: a status of gRPC's, or `ENDED`; and the seconds it took."""
        since = time.monotonic()
        how = {"frames": self._frames, "plain": self._plain}.get(attack.form, self._call)(attack)
        return how, time.monotonic() - since

    def header(self, name: str) -> list[tuple[str, str]]:
        """The one that brings a token."""
        token = self._tokens[name]
        return [("authorization", f"Bearer {token}")] if token is not None else []

    def _call(self, attack: Attack) -> str:
        channel = self.channels[attack.way]
        pairs = [*(self.header(attack.token) if attack.way == "gateway" else []), *attack.metadata]
        try:
            if attack.form == "messages":
                channel.stream_unary(attack.path)(iter([attack.message] * 3), metadata=pairs, timeout=attack.timeout)
            elif attack.form == "cancelled":
                call = channel.unary_unary(attack.path).future(attack.message, metadata=pairs, timeout=20)
                time.sleep(attack.timeout)
                call.cancel()
                return "CANCELLED"
            else:
                channel.unary_unary(attack.path)(attack.message, metadata=pairs, timeout=attack.timeout)
        except grpc.RpcError as error:
            return str(error.code().name)
        except ValueError:
            return "not sent: the library refuses the headers"
        return OK

    def _frames(self, attack: Attack) -> str:
        context = ssl.create_default_context(cafile=str(self._secrets / "ca.crt"))
        context.set_alpn_protocols(["h2"])
        if attack.way == "direct":
            context.load_cert_chain(self._secrets / "gateway.crt", self._secrets / "gateway.key")
        name = PRIVATE_NAME if attack.way == "direct" else "localhost"
        with (
            suppress(OSError),
            self._connected(attack.way) as bare,
            context.wrap_socket(bare, server_hostname=name) as sock,
        ):
            sock.sendall(PREFACE + attack.message)
            self._drain(sock)
        return ENDED

    def _plain(self, attack: Attack) -> str:
        with suppress(OSError), self._connected(attack.way) as sock:
            sock.sendall(attack.message)
            self._drain(sock)
        return ENDED

    def _connected(self, way: Way) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._ports[way]), timeout=LONGEST_S)

    @staticmethod
    def _drain(sock: socket.socket) -> None:
        """Read what comes within a moment."""
        sock.settimeout(0.2)
        while sock.recv(65536):
            pass

    def close(self) -> None:
        """End all connections."""
        for channel in self.channels.values():
            channel.close()

    def send_all(self, attacks: Any, workers: int) -> Any:
        """Attacks with their ends, in order; so many under way at a time."""
        with ThreadPoolExecutor(workers) as pool:
            pending: list[tuple[Attack, Any]] = []
            for attack in attacks:
                pending.append((attack, pool.submit(self.send, attack)))
                if len(pending) >= 4 * workers:
                    first, done = pending.pop(0)
                    yield first, *done.result()
            for attack, done in pending:
                yield attack, *done.result()
