"""Calls bent: methods, headers, deadlines, tokens; frames of HTTP/2, gRPC's prefix in them, and bytes that are neither.

After those of messages these are all kinds, so `attacks` stands here.
"""

import gzip
import random
import struct
from collections.abc import Iterator
from typing import Any

from loadtests.fuzz.attack import BOTH, KINDS, SERVICE, Attack, Way, kind
from loadtests.fuzz.messages import CALLED, HOSTILE, text, true_message
from loadtests.fuzz.tokens import WORTHLESS
from shelfbridge.contract import MODELS

STEPS = tuple(name for name in MODELS if name not in CALLED)
BOMB = gzip.compress(bytes(16 << 20), mtime=0)
"""Megabytes in a few bytes."""
Fields = dict[str, Any]


@kind("several messages", 2, refused=("gateway",), form="messages")
def several(chance: random.Random) -> bytes:
    """Several messages in a call that takes one: the gateway refuses them, Triton itself answers the first."""
    return true_message(chance, "search")


@kind("a closed method", 3, refused=BOTH)
def method(chance: random.Random) -> Fields:
    """Methods that nobody may call from outside."""
    return {"path": SERVICE + chance.choice(HOSTILE["closed"])}


@kind("another path", 2)
def path(chance: random.Random) -> Fields:
    """A search under a name that is almost its own, or of another service."""
    message, given = true_message(chance, "search"), text(chance.choice(HOSTILE["paths"]))
    # the gateway spells out what is escaped before it judges
    return {"message": message, "refused": ("direct",) if "%" in given else BOTH, "path": given}


@kind("a step", 2, refused=("gateway",))
def step(chance: random.Random) -> bytes:
    """A step of an ensemble, which only the server itself asks."""
    return true_message(chance, chance.choice(STEPS))


@kind("headers", 4)
def metadata(chance: random.Random) -> Fields:
    """Headers that are too many, too long or not theirs to send."""
    pairs = chance.choice(
        (
            (("x-shelfbridge-site", "public"), ("x-envoy-upstream-rq-timeout-ms", "1")),
            tuple((f"x-{n}", "y" * 50) for n in range(60)),
            (("x-long", "z" * 7000),),
            (("x-forwarded-for", "127.0.0.1"), ("x-envoy-original-path", "/admin")),
            (("x-request-id", "\t".join(["id"] * 50)),),
        )
    )
    return {"message": true_message(chance, "search"), "metadata": pairs}


@kind("no time", 3, given_up=True)
def deadline(chance: random.Random) -> Fields:
    """A caller that waits for a moment only, or goes away."""
    message = true_message(chance)
    if chance.random() < 0.5:
        timeout = chance.uniform(0.0005, 0.01)
        return {"category": "a caller that goes", "message": message, "form": "cancelled", "timeout": timeout}
    header = chance.choice(((), (("grpc-timeout", "1n"),)))
    return {"message": message, "metadata": header, "timeout": chance.uniform(0.0001, 0.005)}


def _framed(message: bytes, flag: int = 0, length: int | None = None) -> bytes:
    return struct.pack(">BI", flag, len(message) if length is None else length) + message


@kind("a prefix that lies", 4, refused=("gateway",), form="stream")
def prefix(chance: random.Random) -> bytes:
    """A stream whose data is not one whole message of gRPC's: flag, length or number are others."""
    message = true_message(chance)
    whole = _framed(message)
    data = (
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
    return chance.choice(data)


@kind("compressed", 3, refused=("gateway",), form="stream")
def compressed(chance: random.Random) -> Fields:
    """Compressed, or said to be."""
    message = true_message(chance, "search")
    packed = chance.choice((gzip.compress(message, mtime=0), BOMB, message, chance.randbytes(99)))
    encoding = chance.choice(("gzip", "deflate", "identity", "br", ""))
    return {"message": _framed(packed, flag=1), "metadata": (("grpc-encoding", encoding),)}


@kind("headers of HTTP/2", 3, form="stream")
def headers(chance: random.Random) -> Fields:
    """A stream with headers that are no request's of gRPC, or that none may send."""
    data = _framed(true_message(chance, "search"))
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
    return {"message": data, "metadata": pairs}


@kind("a stream left open", 1, given_up=True, form="open")
def unended(chance: random.Random) -> bytes:
    """A stream that its caller leaves open, half sent or whole, and ends its connection."""
    data = _framed(true_message(chance))
    return data[: chance.choice((0, 3, 20, len(data)))]


@kind("frames", 3, refused=BOTH, form="frames")
def frames(chance: random.Random) -> bytes:
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
    return chance.choice(choices)


@kind("without TLS", 1, refused=BOTH, form="plain")
def plain(chance: random.Random) -> bytes:
    """Bytes of HTTP, or any, where TLS is expected."""
    return chance.choice((b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", chance.randbytes(500)))


@kind("a token that opens nothing", 5, ways=("gateway",), refused=BOTH)
def token(chance: random.Random) -> Fields:
    """Tokens that open nothing; of tokens only the gateway knows."""
    return {"message": true_message(chance, "search"), "token": chance.choice(WORTHLESS)}


@kind("a token of another role", 3, ways=("gateway",), refused=BOTH, token="search alone")
def role(chance: random.Random) -> bytes:
    """A token of another role."""
    return true_message(chance, chance.choice(("recommend", "events", "privacy")))


def attacks(count: int, seed: int, *, given_up: bool = True) -> Iterator[Attack]:
    """So many, by turns through the gateway and past it; the same for the same seed.

    Args:
        count: how many.
        seed: of their making.
        given_up: whether those that their callers give up are among them.
    """
    chance = random.Random(seed)
    for number in range(count):
        way: Way = "direct" if number % 2 else "gateway"
        some = [one for one in KINDS if way in one.ways and (given_up or not one.given_up)]
        (chosen,) = chance.choices(some, [one.often for one in some])
        yield chosen.make(chance).model_copy(update={"way": way})
