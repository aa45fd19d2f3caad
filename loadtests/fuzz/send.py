"""Sends attacks through the gateway, and past it with the gateway's own certificate."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from loadtests.fuzz import sockets
from loadtests.fuzz.attack import Attack, Way

OK = "OK"
AHEAD = 4
"""Attacks for each worker that wait to be sent or told of."""
LARGEST = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
NAMES: Mapping[Way, str] = {"gateway": "localhost", "direct": "private.triton"}
BARE = ("stream", "open", "frames", "plain")


class Sender:
    """Connections of both ways, shared by threads; as a context they are closed at its end.

    Args:
        ports: of the gateway and of the private site.
        secrets: folder of certificates.
        tokens: by their names.
    """

    def __init__(self, ports: Mapping[Way, int], secrets: Path, tokens: Mapping[str, str | None]) -> None:
        self._ports, self._secrets, self._tokens = ports, secrets, tokens
        credentials = grpc.ssl_channel_credentials((secrets / "ca.crt").read_bytes())
        self._channels: dict[Way, Any] = {
            "gateway": grpc.secure_channel(f"localhost:{ports['gateway']}", credentials, LARGEST),
            "direct": _past_the_gateway(ports["direct"], secrets),
        }

    def send(self, attack: Attack) -> tuple[str, float]:
        """How it ended, a status of gRPC's or what sockets.py says, and the seconds it took."""
        since = time.monotonic()
        how = self._bare(attack) if attack.form in BARE else self._call(attack)
        return how, time.monotonic() - since

    def _headers(self, attack: Attack) -> list[tuple[str, str]]:
        """Its own, after the one that brings its token."""
        token = self._tokens[attack.token] if attack.way == "gateway" else None
        return [*([("authorization", f"Bearer {token}")] if token is not None else []), *attack.metadata]

    def _bare(self, attack: Attack) -> str:
        port = self._ports[attack.way]
        if attack.form == "plain":
            return sockets.plain(port, attack.message)
        own = self._secrets if attack.way == "direct" else None
        with suppress(OSError), sockets.connected(port, self._secrets, own, NAMES[attack.way]) as sock:
            if attack.form == "frames":
                return sockets.frames(sock, attack.message)
            whole = attack.form == "stream"
            return sockets.stream(sock, attack.path, self._headers(attack), attack.message, whole=whole)
        return sockets.ENDED

    def _call(self, attack: Attack) -> str:
        channel, pairs = self._channels[attack.way], self._headers(attack)
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

    def send_all(self, attacks: Iterable[Attack], workers: int) -> Iterator[tuple[Attack, str, float]]:
        """Attacks with their ends, in order; so many under way at a time. Who stops asking sends no more."""
        with ThreadPoolExecutor(workers) as pool:
            pending: deque[tuple[Attack, Future[tuple[str, float]]]] = deque()
            for attack in attacks:
                pending.append((attack, pool.submit(self.send, attack)))
                if len(pending) >= AHEAD * workers:
                    first, done = pending.popleft()
                    yield first, *done.result()
            for attack, done in pending:
                yield attack, *done.result()

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self._channels.values():
            channel.close()


def triton_version(port: int, secrets: Path) -> tuple[int, ...]:
    """Of the private site's server.

    Args:
        port: of its gRPC.
        secrets: folder of the gateway's certificate.
    """
    with _past_the_gateway(port, secrets) as channel:
        asked = service_pb2_grpc.GRPCInferenceServiceStub(channel).ServerMetadata(service_pb2.ServerMetadataRequest())
    return tuple(int(part) for part in asked.version.split("."))


def _past_the_gateway(port: int, secrets: Path) -> Any:
    ca, key, certificate = ((secrets / name).read_bytes() for name in ("ca.crt", "gateway.key", "gateway.crt"))
    own = grpc.ssl_channel_credentials(ca, key, certificate)
    named = [*LARGEST, ("grpc.ssl_target_name_override", NAMES["direct"])]
    return grpc.secure_channel(f"localhost:{port}", own, named)
