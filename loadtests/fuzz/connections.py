"""Connections bent: frames of HTTP/2, gRPC's prefix in them, and bytes that are neither."""

import gzip
import random
import struct

from loadtests.fuzz.attack import BOTH, Attack
from loadtests.fuzz.truth import CALLED, true_request

BOMB = gzip.compress(bytes(16 << 20), mtime=0)
"""Megabytes in a few bytes."""


def prefix(chance: random.Random) -> Attack:
    """A stream whose data is not one whole message of gRPC's: flag, length or number are others."""
    message = true_request(chance.choice(CALLED), chance).SerializeToString()
    whole = _framed(message)
    data = chance.choice(
        (
            _framed(message, flag=1),
            _framed(message, flag=chance.randrange(2, 256)),
            _framed(message, length=len(message) + 1),
            _framed(message, length=max(0, len(message) - 1)),
            _framed(message, length=2**32 - 1),
            whole[: chance.randrange(5)],
            whole + whole[:7],
            whole * 50,
            b"",
        )
    )
    return Attack("a prefix that lies", data, ("gateway",), form="stream")


def compressed(chance: random.Random) -> Attack:
    """Compressed, or said to be."""
    message = true_request("search", chance).SerializeToString()
    packed = chance.choice((gzip.compress(message, mtime=0), BOMB, message, chance.randbytes(99)))
    encoding = (("grpc-encoding", chance.choice(("gzip", "deflate", "identity", "br", ""))),)
    return Attack("compressed", _framed(packed, flag=1), ("gateway",), metadata=encoding, form="stream")


def headers(chance: random.Random) -> Attack:
    """A stream with headers that are no request's of gRPC, or that none may send."""
    data = _framed(true_request("search", chance).SerializeToString())
    pairs = chance.choice(
        (
            ((":method", "GET"),),
            ((":path", "*"),),
            (("content-type", chance.choice(("text/html", "application/grpc-web", "application/json"))),),
            (("content-length", "3"),),
            (("transfer-encoding", "chunked"), ("connection", "upgrade")),
            ((":status", "200"),),
            (("UPPER", "case"),),
            (("x-newline", "a\r\nauthorization: b"),),
            (("x-name\0", "zero"),),
            tuple((f"x-{number}", "y" * 500) for number in range(300)),
        )
    )
    return Attack("headers of HTTP/2", data, metadata=pairs, form="stream")


def unended(chance: random.Random) -> Attack:
    """A stream that its caller leaves open, half sent or whole, and ends its connection."""
    data = _framed(true_request(chance.choice(CALLED), chance).SerializeToString())
    return Attack("a stream left open", data[: chance.choice((0, 3, 20, len(data)))], form="open")


def _framed(message: bytes, flag: int = 0, length: int | None = None) -> bytes:
    return struct.pack(">BI", flag, len(message) if length is None else length) + message


def frames(chance: random.Random) -> Attack:
    """Frames of HTTP/2 out of order, too many, too large or none."""
    header = struct.pack(">I", 9)[1:] + bytes([chance.randrange(12), chance.randrange(256)])
    choices = (
        chance.randbytes(200),
        header + struct.pack(">I", chance.getrandbits(31)) + chance.randbytes(9),
        (b"\0\0\0\4\0\0\0\0\0") * 200,
        (b"\0\0\x08\6\0\0\0\0\0" + b"pingping") * 200,
        b"".join(b"\0\0\4\3\0" + struct.pack(">I", 2 * n + 1) + b"\0\0\0\x08" for n in range(200)),
        b"\0\0\4\x08\0\0\0\0\0" + b"\x7f\xff\xff\xff" * 2,
        b"\0\0\1\1\0\0\0\0\1\x82" + b"\0\0\x02\x09\0\0\0\0\1\x82\x82" * 2000,
        b"\xff\xff\xff\1\4\0\0\0\1" + b"\x82" * 20_000,
        b"\0\0\0\1\4\0\0\0\1",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    return Attack("frames", chance.choice(choices), refused=BOTH, form="frames")


def plain(chance: random.Random) -> Attack:
    """Without TLS."""
    text = chance.choice((b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", chance.randbytes(500)))
    return Attack("without TLS", text, refused=BOTH, form="plain")
