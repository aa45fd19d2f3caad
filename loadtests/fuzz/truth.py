"""True requests, as `shelfbridge.contract` describes them: what every hostile one begins with."""

import math
import random
import struct
from typing import Any

from tritonclient.grpc import service_pb2

from shelfbridge.contract import MODELS, Tensor

CALLED = ("search", "search_deep", "search_personal", "recommend", "events", "privacy")
WIDTHS = {"BOOL": 1, "INT8": 1, "INT32": 4, "INT64": 8, "FP32": 4}
"""Bytes of an element."""
QUERIES = (b"red running shoes", b"lamp", "防水登山靴".encode(), b"usb cable 64gb")


def packed(*values: bytes) -> bytes:
    """Strings as a BYTES tensor holds them."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def true_request(model: str, chance: random.Random) -> Any:
    """A request that a well-behaved caller could send."""
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
        raw = packed(*[_plausible(tensor.name, chance)] * math.prod(shape))
    else:
        number = chance.randint(1, 1 if tensor.dtype == "BOOL" else 20)
        raw = number.to_bytes(WIDTHS[tensor.dtype], "little") * math.prod(shape)
    dtype = "BYTES" if tensor.dtype == "STRING" else tensor.dtype
    request.inputs.add(name=tensor.name, datatype=dtype, shape=[*batch, *shape])
    request.raw_input_contents.append(raw)


def _plausible(name: str, chance: random.Random) -> bytes:
    known = {"filters": b'{"price_max": 50}', "action": b"export", "user": b"u-4711", "shelf": b"for_you"}
    event = b'{"event_id":"e1","user":"u-4711","kind":"view","product_id":"p1","time":1}'
    return {**known, "events": event}.get(name) or chance.choice(QUERIES)
