"""Messages bent: the values, shapes, types and lengths of their tensors, the fields of protobuf, and the bytes."""

import math
import random
import struct
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tritonclient.grpc import service_pb2

from loadtests.fuzz.attack import BOTH, Attack, Make, kind
from shelfbridge.contract import MODELS, Tensor

HOSTILE = tomllib.loads(Path(__file__).with_name("hostile.toml").read_text())
CALLED = ("search", "search_deep", "search_personal", "recommend", "events", "privacy")
WIDTHS = {"BOOL": 1, "INT8": 1, "INT32": 4, "INT64": 8, "FP32": 4}
"""Bytes of an element."""
QUERIES = (b"red running shoes", b"lamp", "防水登山靴".encode(), b"usb cable 64gb")
PLAUSIBLE = {
    "filters": b'{"price_max": 50}',
    "action": b"export",
    "user": b"u-4711",
    "shelf": b"for_you",
    "events": b'{"event_id":"e1","user":"u-4711","kind":"view","product_id":"p1","time":1}',
}
"""By tensor; the others get one of `QUERIES`."""


def text(hostile: str | list[Any]) -> str:
    """A string of hostile.toml."""
    return hostile if isinstance(hostile, str) else hostile[0] + hostile[1] * hostile[2]


def packed(*values: bytes) -> bytes:
    """Strings as a BYTES tensor holds them."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def true_request(model: str, chance: random.Random) -> Any:
    """A request that a well-behaved caller could send: what every hostile one begins with."""
    request = service_pb2.ModelInferRequest(model_name=model, id=f"{chance.getrandbits(64):x}")
    tensors = MODELS[model].inputs
    chosen = [tensor for tensor in tensors if not tensor.optional or chance.random() < 0.3]
    for tensor in chosen or [chance.choice(tensors)]:
        _add(request, tensor, chance)
    return request


def _add(request: Any, tensor: Tensor, chance: random.Random) -> None:
    shape = [max(1, dim) for dim in tensor.dims]
    batch = [1] if MODELS[request.model_name].batched else []
    if tensor.dtype == "STRING":
        raw = packed(*[PLAUSIBLE.get(tensor.name) or chance.choice(QUERIES)] * math.prod(shape))
    else:
        number = chance.randint(1, 1 if tensor.dtype == "BOOL" else 20)
        raw = number.to_bytes(WIDTHS[tensor.dtype], "little") * math.prod(shape)
    dtype = "BYTES" if tensor.dtype == "STRING" else tensor.dtype
    request.inputs.add(name=tensor.name, datatype=dtype, shape=[*batch, *shape])
    request.raw_input_contents.append(raw)


def true_message(chance: random.Random, model: str = "") -> bytes:
    """The bytes of a true request of a model, of any in `CALLED` where none is named."""
    return bytes(true_request(model or chance.choice(CALLED), chance).SerializeToString())


Bend = Callable[[Any, random.Random], object]
"""Changes a true request in place."""


def bent(category: str, often: float, models: Sequence[str] = CALLED, **fields: Any) -> Callable[[Bend], Make]:
    """Declare a kind by a function that bends a true request of one of the models."""

    def declare(bend: Bend) -> Make:
        def make(chance: random.Random) -> bytes:
            request = true_request(chance.choice(models), chance)
            bend(request, chance)
            return bytes(request.SerializeToString())

        return kind(category, often, **fields)(make)

    return declare


@bent("a strange value", 22)
def value(request: Any, chance: random.Random) -> None:
    """A tensor of the right form with a strange value."""
    place = chance.randrange(len(request.inputs))
    dtype = request.inputs[place].datatype
    if dtype == "BYTES":
        content = packed(text(chance.choice(HOSTILE["strings"])).encode("latin-1"))
    elif dtype == "INT32":
        content = struct.pack("<i", chance.choice(HOSTILE["numbers"]))
    else:
        content = bytes([chance.randrange(256)])
    request.raw_input_contents[place] = content


@bent("a shape that lies", 7)
def shape(request: Any, chance: random.Random) -> None:
    """A tensor whose shape is another than that of its content."""
    tensor = chance.choice(request.inputs)
    del tensor.shape[:]
    tensor.shape.extend(chance.choice(HOSTILE["shapes"]))


@bent("a type that lies", 6, refused=BOTH)
def datatype(request: Any, chance: random.Random) -> None:
    """A tensor of another type than the contract's."""
    tensor = chance.choice(request.inputs)
    tensor.datatype = chance.choice([name for one in HOSTILE["datatypes"] if (name := text(one)) != tensor.datatype])


@bent("a tensor missing", 4, ("search", "search_deep", "search_personal", "events", "privacy"), refused=BOTH)
def missing(request: Any, chance: random.Random) -> None:
    """Without a tensor that must come."""
    del request.inputs[0], request.raw_input_contents[0]


@bent("a tensor too many", 6)
def doubled(request: Any, chance: random.Random) -> None:
    """A tensor twice, or one that nobody knows."""
    again = request.inputs.add()
    again.CopyFrom(request.inputs[0])
    if chance.random() < 0.5:
        again.name = "unknown"
    request.raw_input_contents.append(packed(b"again"))


@kind("a string's length that lies", 7, refused=BOTH)
def length(chance: random.Random) -> bytes | Attack:
    """A string whose length is another than what it says."""
    request = true_request(chance.choice(CALLED), chance)
    places = [place for place, tensor in enumerate(request.inputs) if tensor.datatype == "BYTES"]
    if not places:
        return value(chance)
    raw = (b"", b"\1", struct.pack("<I", 2**32 - 1), struct.pack("<I", 99) + b"short", packed(b"a") + b"more")
    content = chance.choice(raw)
    request.raw_input_contents[chance.choice(places)] = content
    return bytes(request.SerializeToString())


@bent("contents, shared memory, parameters", 6)
def contents(request: Any, chance: random.Random) -> None:
    """Typed contents, shared memory or parameters where raw content is expected."""
    tensor = chance.choice(request.inputs)
    way = chance.randrange(3)
    if way == 0:
        tensor.contents.bytes_contents.append(b"x")
    elif way == 1:
        tensor.parameters["shared_memory_region"].string_param = "secrets"
        tensor.parameters["shared_memory_byte_size"].int64_param = 2**40
    else:
        request.parameters[chance.choice(HOSTILE["parameters"])].int64_param = -1


@kind("flipped bits", 12)
def bits(chance: random.Random) -> bytes:
    """A true request with bits that flipped."""
    message = bytearray(true_message(chance))
    for _ in range(chance.randint(1, 8)):
        message[chance.randrange(len(message))] ^= 1 << chance.randrange(8)
    return bytes(message)


@kind("cut, or gone on", 8)
def cut(chance: random.Random) -> bytes:
    """A true request that ends too soon, or goes on."""
    message = true_message(chance)
    more = (b"\xff" * 20, b"\x4b\x4c", b"\x9a\x06\x05hello", b"\0", b"\x2a\xff\xff\xff\xff\x0f")
    return message[: chance.randrange(len(message))] + chance.choice((b"", *more))


@kind("protobuf", 8)
def wire(chance: random.Random) -> bytes:
    """Fields that a message of protobuf may hold and no true request does; bytes that none may hold."""
    message, other = true_message(chance), true_message(chance)
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
    return b"".join(parts)


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _field(number: int, content: bytes) -> bytes:
    return _tag(number, 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    low, more = number & 127, number >> 7
    return bytes([low | 128]) + _varint(more) if more else bytes([low])


@kind("noise", 4, refused=BOTH)
def noise(chance: random.Random) -> bytes:
    """No request at all."""
    return chance.randbytes(chance.choice((0, 1, 5, 300, 5000)))


@kind("megabytes", 0.5, refused=BOTH)
def size(chance: random.Random) -> bytes:
    """A search for megabytes of text."""
    request = true_request("search", chance)
    request.raw_input_contents[0] = packed(b"x" * (chance.choice((1, 3, 5)) << 20))
    return bytes(request.SerializeToString())
