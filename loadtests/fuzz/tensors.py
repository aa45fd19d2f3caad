"""Tensors bent: values, shapes, types, lengths, one too few, one too many."""

import random
import struct

from loadtests.fuzz.attack import BOTH, Attack
from loadtests.fuzz.truth import CALLED, packed, true_request

STRINGS = (
    b"",
    b" ",
    b"\0",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"a\x01\x02\x1b[31m",
    b"NaN",
    b"-1",
    b"null",
    b'{"a":' * 500,
    b"[" * 5000,
    b'{"price_max": NaN}',
    b'{"price_max": 1e999}',
    b"../../etc/passwd",
    b"'; DROP TABLE profiles; --",
    "\u202e\u0000\ufeff".encode(),
    b"x" * 513,
    b"x" * 70_000,
    b"%s%n" * 40,
)
NUMBERS = (0, -1, 1, 101, 2**31 - 1, -(2**31))


def value(chance: random.Random) -> Attack:
    """A tensor of the right form with a strange value."""
    request = true_request(chance.choice(CALLED), chance)
    place = chance.randrange(len(request.inputs))
    tensor = request.inputs[place]
    if tensor.datatype == "BYTES":
        content = packed(chance.choice(STRINGS))
    elif tensor.datatype == "INT32":
        content = struct.pack("<i", chance.choice(NUMBERS))
    else:
        content = bytes([chance.randrange(256)])
    request.raw_input_contents[place] = content
    return Attack("a strange value", request.SerializeToString())


def shape(chance: random.Random) -> Attack:
    """A tensor whose shape is another than that of its content."""
    request = true_request(chance.choice(CALLED), chance)
    tensor = chance.choice(request.inputs)
    del tensor.shape[:]
    tensor.shape.extend(chance.choice(([], [0], [2, 1], [1, 2], [1, 1, 1], [-1, 1], [2**62, 4], [1, 2**31])))
    return Attack("a shape that lies", request.SerializeToString())


def datatype(chance: random.Random) -> Attack:
    """A tensor of another type than the contract's."""
    request = true_request(chance.choice(CALLED), chance)
    tensor = chance.choice(request.inputs)
    tensor.datatype = chance.choice(
        [one for one in ("FP32", "UINT8", "INT64", "", "bytes", "X" * 99) if one != tensor.datatype]
    )
    return Attack("a type that lies", request.SerializeToString(), refused=BOTH)


def missing(chance: random.Random) -> Attack:
    """Without a tensor that must come."""
    request = true_request(chance.choice(("search", "search_deep", "search_personal", "events", "privacy")), chance)
    del request.inputs[0], request.raw_input_contents[0]
    return Attack("a tensor missing", request.SerializeToString(), refused=BOTH)


def doubled(chance: random.Random) -> Attack:
    """A tensor twice, or one that nobody knows."""
    request = true_request(chance.choice(CALLED), chance)
    again = request.inputs.add()
    again.CopyFrom(request.inputs[0])
    if chance.random() < 0.5:
        again.name = "unknown"
    request.raw_input_contents.append(packed(b"again"))
    return Attack("a tensor too many", request.SerializeToString())


def length(chance: random.Random) -> Attack:
    """A string whose length is another than what it says."""
    request = true_request(chance.choice(CALLED), chance)
    places = [place for place, tensor in enumerate(request.inputs) if tensor.datatype == "BYTES"]
    if not places:
        return value(chance)
    raw = chance.choice(
        (b"", b"\1", struct.pack("<I", 2**32 - 1), struct.pack("<I", 99) + b"short", packed(b"a") + b"more")
    )
    request.raw_input_contents[chance.choice(places)] = raw
    return Attack("a string's length that lies", request.SerializeToString(), refused=BOTH)


def contents(chance: random.Random) -> Attack:
    """Typed contents, shared memory or parameters where raw content is expected."""
    request = true_request(chance.choice(CALLED), chance)
    tensor = chance.choice(request.inputs)
    way = chance.randrange(3)
    if way == 0:
        tensor.contents.bytes_contents.append(b"x")
    elif way == 1:
        tensor.parameters["shared_memory_region"].string_param = "secrets"
        tensor.parameters["shared_memory_byte_size"].int64_param = 2**40
    else:
        request.parameters[chance.choice(("sequence_id", "priority", "timeout", "binary_data_output"))].int64_param = -1
    return Attack("contents, shared memory, parameters", request.SerializeToString())
