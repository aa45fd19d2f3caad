"""Hostile requests by the grammar of true ones: each level, from a tensor's value to the frames, is bent by itself.

All begins with a true request of a model that callers may name, as `shelfbridge.contract` describes it.
"""

import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

from tritonclient.grpc import service_pb2

from loadtests.fuzz.attack import Attack
from shelfbridge.contract import MODELS, Tensor

Request: Any = service_pb2.ModelInferRequest
CALLED = ("search", "search_deep", "search_personal", "recommend", "events", "privacy")
WIDTHS = {"INT32": "i", "BOOL": "?"}
MEGABYTES = 1 << 20
QUERIES = (b"red running shoes", b"lamp", "防水登山靴".encode(), b"usb cable 64gb")
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
SERVICE = "/inference.GRPCInferenceService/"
CLOSED = (
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "RepositoryIndex",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "TraceSetting",
    "LogSettings",
    "ModelConfig",
    "ModelStatistics",
    "NoSuchMethod",
)


def packed(*values: bytes) -> bytes:
    """Strings as a BYTES tensor holds them."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def true_request(model: str, chance: random.Random) -> Any:
    """A request that a well-behaved caller could send."""
    request = Request(model_name=model, id=f"{chance.getrandbits(64):x}")
    tensors = MODELS[model].inputs
    chosen = [tensor for tensor in tensors if not tensor.optional or chance.random() < 0.3]
    for tensor in chosen or [chance.choice(tensors)]:
        _add(request, tensor, chance)
    return request


def _add(request: Any, tensor: Tensor, chance: random.Random) -> None:
    shape = [max(1, dim) for dim in tensor.dims]
    batch = [1] if MODELS[request.model_name].batched else []
    if tensor.dtype == "STRING":
        raw = packed(*[_plausible(tensor.name, chance)] * shape[0])
    else:
        raw = struct.pack(f"<{WIDTHS[tensor.dtype]}", chance.randint(1, 20))
    dtype = "BYTES" if tensor.dtype == "STRING" else tensor.dtype
    request.inputs.add(name=tensor.name, datatype=dtype, shape=[*batch, *shape])
    request.raw_input_contents.append(raw)


def _plausible(name: str, chance: random.Random) -> bytes:
    known = {"filters": b'{"price_max": 50}', "action": b"export", "user": b"u-4711", "shelf": b"for_you"}
    event = b'{"event_id":"e1","user":"u-4711","kind":"view","product_id":"p1","time":1}'
    return {**known, "events": event}.get(name) or chance.choice(QUERIES)


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
    return Attack("a type that lies", request.SerializeToString(), refused=True)


def missing(chance: random.Random) -> Attack:
    """Without a tensor that must come."""
    request = true_request(chance.choice(("search", "search_deep", "search_personal", "events", "privacy")), chance)
    del request.inputs[0], request.raw_input_contents[0]
    return Attack("a tensor missing", request.SerializeToString(), refused=True)


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
    return Attack("a string's length that lies", request.SerializeToString(), refused=True)


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


def noise(chance: random.Random) -> Attack:
    """No request at all."""
    return Attack("noise", chance.randbytes(chance.choice((0, 1, 5, 300, 5000))), refused=True)


def size(chance: random.Random) -> Attack:
    """Megabytes."""
    request = true_request("search", chance)
    request.raw_input_contents[0] = packed(b"x" * (chance.choice((1, 3, 5)) * MEGABYTES))
    return Attack("megabytes", request.SerializeToString(), refused=True)


def several(chance: random.Random) -> Attack:
    """Several messages in a call that takes one: the gateway refuses them, Triton itself answers the first."""
    return Attack("several messages", true_request("search", chance).SerializeToString(), form="messages")


def method(chance: random.Random) -> Attack:
    """Methods that nobody may call from outside."""
    return Attack("a closed method", b"", refused=True, path=SERVICE + chance.choice(CLOSED))


def metadata(chance: random.Random) -> Attack:
    """Headers that are too many, too long or not theirs to send."""
    pairs = chance.choice(
        (
            (("x-shelfbridge-site", "public"), ("x-envoy-upstream-rq-timeout-ms", "1")),
            tuple((f"x-{n}", "y" * 50) for n in range(60)),
            (("x-long", "z" * 7000),),
            (("grpc-timeout", "1n"),),
            (("x-forwarded-for", "127.0.0.1"), ("x-envoy-original-path", "/admin")),
            (("x-request-id", "\t".join(["id"] * 50)),),
        )
    )
    return Attack("headers", true_request("search", chance).SerializeToString(), metadata=pairs)


def deadline(chance: random.Random) -> Attack:
    """A caller that waits for a moment only, or goes away."""
    message = true_request(chance.choice(CALLED), chance).SerializeToString()
    if chance.random() < 0.5:
        return Attack("a caller that goes", message, form="cancelled", timeout=chance.uniform(0.0005, 0.01))
    return Attack("no time", message, timeout=chance.uniform(0.0001, 0.005))


def frames(chance: random.Random) -> Attack:
    """Frames of HTTP/2 out of order, too many, too large or none."""
    header = struct.pack(">I", 9)[1:] + bytes([chance.randrange(12), chance.randrange(256)])
    choices = (
        chance.randbytes(200),
        header + struct.pack(">I", chance.getrandbits(31)) + chance.randbytes(9),
        (b"\0\0\0\4\0\0\0\0\0") * 200,
        (b"\0\0\x08\6\0\0\0\0\0" + b"pingping") * 200,
        b"".join(b"\0\0\4\3\0" + struct.pack(">I", 2 * n + 1) + b"\0\0\0\x08" for n in range(200)),
        b"\xff\xff\xff\1\4\0\0\0\1" + b"\x82" * 20_000,
        b"\0\0\0\1\4\0\0\0\1",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    return Attack("frames", chance.choice(choices), refused=True, form="frames")


def plain(chance: random.Random) -> Attack:
    """Without TLS."""
    text = chance.choice((b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", chance.randbytes(500)))
    return Attack("without TLS", text, refused=True, form="plain")


def token(chance: random.Random) -> Attack:
    """Tokens that open nothing."""
    message = true_request("search", chance).SerializeToString()
    kind = chance.choice(("none", "expired", "another key", "unsigned", "no word", "another audience"))
    return Attack("a token that opens nothing", message, refused=True, token=kind)


def role(chance: random.Random) -> Attack:
    """A token of another role."""
    model = chance.choice(("recommend", "events", "privacy"))
    message = true_request(model, chance).SerializeToString()
    return Attack("a token of another role", message, refused=True, token="search alone")


ANYWHERE: dict[Callable[[random.Random], Attack], float] = {
    value: 22,
    shape: 7,
    datatype: 6,
    missing: 4,
    doubled: 6,
    length: 7,
    contents: 6,
    bits: 12,
    cut: 8,
    noise: 4,
    size: 0.5,
    several: 2,
    method: 4,
    metadata: 4,
    deadline: 3,
    frames: 3,
    plain: 1,
}
"""How often each comes; of tokens only the gateway knows."""
GATEWAY = {**ANYWHERE, token: 5.0, role: 3.0}


def attacks(count: int, seed: int) -> Iterator[Attack]:
    """So many, by turns through the gateway and past it; the same for the same seed."""
    chance = random.Random(seed)
    for number in range(count):
        choice = ANYWHERE if number % 2 else GATEWAY
        make = chance.choices(list(choice), list(choice.values()))[0]
        yield make(chance).by("direct" if number % 2 else "gateway")
