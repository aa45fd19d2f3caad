"""Messages bent: what lies between the bytes of a gRPC message and the tensors in it."""

import random

from loadtests.fuzz.attack import BOTH, Attack
from loadtests.fuzz.truth import CALLED, packed, true_request

MEGABYTES = 1 << 20


def bits(chance: random.Random) -> Attack:
    """A true request with bits that flipped."""
    message = bytearray(true_request(chance.choice(CALLED), chance).SerializeToString())
    for _ in range(chance.randint(1, 8)):
        message[chance.randrange(len(message))] ^= 1 << chance.randrange(8)
    return Attack("flipped bits", bytes(message))


def cut(chance: random.Random) -> Attack:
    """A true request that ends too soon, or goes on."""
    message = true_request(chance.choice(CALLED), chance).SerializeToString()
    more = (b"\xff" * 20, b"\x4b\x4c", b"\x9a\x06\x05hello", b"\0", b"\x2a\xff\xff\xff\xff\x0f")
    return Attack("cut, or gone on", message[: chance.randrange(len(message))] + chance.choice((b"", *more)))


def wire(chance: random.Random) -> Attack:
    """Fields that a message of protobuf may hold and no true request does; bytes that none may hold."""
    message = true_request(chance.choice(CALLED), chance).SerializeToString()
    other = true_request(chance.choice(CALLED), chance).SerializeToString()
    nested = b""
    for _ in range(2000):
        nested = _field(4, nested)
    more = (
        other,  # every field twice, of two models
        _field(1, b"privacy"),
        _field(99, b"unknown"),
        _tag(99, 0) + b"\x07",
        _tag(9, 1) + bytes(8),
        _tag(9, 5) + bytes(4),
        _tag(9, 3) + _field(1, b"in a group") + _tag(9, 4),
        _tag(9, 3) * 5000,  # groups in groups without an end
        _tag(9, 4),
        _tag(9, 6),
        _tag(9, 7),
        _tag(0, 2) + b"\x01x",
        _tag(1, 0) + b"\x05",  # the model's name as a number
        _field(5, b"\xff" * 40),
        _field(7, b"") * 3000,
        _field(5, b"") * 3000,
        nested,
        _tag(2, 0) + b"\x80" * 9 + b"\x01",
        b"\x80" * 5000,  # a number without an end
        _tag(7, 2) + b"\xff\xff\xff\xff\x07",
    )
    parts = [message, chance.choice(more)]
    chance.shuffle(parts)
    return Attack("protobuf", b"".join(parts))


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _field(number: int, content: bytes) -> bytes:
    return _tag(number, 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def noise(chance: random.Random) -> Attack:
    """No request at all."""
    return Attack("noise", chance.randbytes(chance.choice((0, 1, 5, 300, 5000))), refused=BOTH)


def size(chance: random.Random) -> Attack:
    """Megabytes."""
    request = true_request("search", chance)
    request.raw_input_contents[0] = packed(b"x" * (chance.choice((1, 3, 5)) * MEGABYTES))
    return Attack("megabytes", request.SerializeToString(), refused=BOTH)
