"""Requests that carry a user, or what might be one, where a careless reader does not look."""

import json
import struct

from tritonclient.grpc import service_pb2

from tests.functional.wire import message, packed, query_message

Request = service_pb2.ModelInferRequest
USER = b"u-4711"
WITH_USER = query_message("red running shoes", user=USER)
ANONYMOUS = query_message("red running shoes", user=b"")
EMPTY = ("user", "BYTES", [1, 1], packed(b""))
NAMED = ("user", "BYTES", [1, 1], packed(USER))
QUERY = ("query", "BYTES", [1, 1], packed(b"shoes"))


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def with_contents(user: bytes) -> Request:
    """Tensors typed into the message rather than raw."""
    request = Request(model_name="search")
    for name, value in (("query", b"shoes"), ("user", user)):
        tensor = request.inputs.add(name=name, datatype="BYTES", shape=[1, 1])
        tensor.contents.bytes_contents.append(value)
    return request


def mixed() -> Request:
    """An empty raw tensor, and the user beside it in contents."""
    request = message("search", QUERY, EMPTY)
    request.inputs[1].contents.bytes_contents.append(USER)
    return request


def in_shared_memory() -> Request:
    request = message("search", QUERY)
    tensor = request.inputs.add(name="user", datatype="BYTES", shape=[1, 1])
    tensor.parameters["shared_memory_region"].string_param = "users"
    tensor.parameters["shared_memory_byte_size"].int64_param = 10
    return request


def parameter(name: str, value: str) -> Request:
    request = message("search", QUERY, EMPTY)
    request.parameters[name].string_param = value
    return request


def output_in_shared_memory() -> Request:
    request = message("search", QUERY, EMPTY)
    request.outputs.add(name="product_ids").parameters["shared_memory_region"].string_param = "u-4711"
    return request


def filters(text: str) -> Request:
    return message("search", QUERY, EMPTY, ("filters", "BYTES", [1, 1], packed(text.encode())))


def tensor_parameter() -> Request:
    request = message("search", QUERY, EMPTY)
    request.inputs[0].parameters["user"].string_param = "u-4711"
    return request


def named(*users: bytes, model: str = "search", **others: bytes) -> bytes:
    """A search by users, and other tensors of one string."""
    tensors = [(name, "BYTES", [1, 1], packed(value)) for name, value in others.items()]
    return message(model, QUERY, ("user", "BYTES", [1, len(users)], packed(*users)), *tensors).SerializeToString()


PSEUDONYM = b"ab27" * 6 + b"zz"
"""Of the form that `shelfbridge.profiles.Pseudonyms` makes."""
NEAR_PSEUDONYMS = {
    "an id": named(USER),
    "a character less": named(PSEUDONYM[:-1]),
    "a character more": named(PSEUDONYM + b"a"),
    "in capitals": named(PSEUDONYM.upper()),
    "a digit that base 32 has not": named(PSEUDONYM[:-1] + b"1"),
    "a line's end": named(PSEUDONYM[:-1] + b"\n"),
    "a zero byte": named(PSEUDONYM[:-1] + b"\0"),
    "a letter that only looks alike": named("\u0430".encode() + PSEUDONYM[2:]),
    "an id in a ULID": named(b"01j9z3k5m7p9r1t3v5x7z9b1d3"),
    "two": named(PSEUDONYM, PSEUDONYM),
    "one, then an id": named(PSEUDONYM, USER),
    "twice": message("search", QUERY, *[("user", "BYTES", [1, 1], packed(PSEUDONYM))] * 2).SerializeToString(),
    "an id after its end": message(
        "search", QUERY, ("user", "BYTES", [1, 1], packed(PSEUDONYM) + USER)
    ).SerializeToString(),
    "a false length": message("search", QUERY, ("user", "BYTES", [1, 1], b"\0\0\0\0" + PSEUDONYM)).SerializeToString(),
    "in contents": with_contents(PSEUDONYM).SerializeToString(),
    "in a personal search": named(PSEUDONYM, model="search_personal"),
    "in a shelf": message("recommend", ("user", "BYTES", [1, 1], packed(PSEUDONYM))).SerializeToString(),
    "with the user's token": named(PSEUDONYM, user_token=PSEUDONYM),
    "with products looked at": named(PSEUDONYM, items=b"p-1"),
    "in the filters": filters(json.dumps({"user": PSEUDONYM.decode()})).SerializeToString(),
    "as a parameter": parameter("user", PSEUDONYM.decode()).SerializeToString(),
    "with an unknown field": named(PSEUDONYM) + field(99, USER),
}
"""What is not exactly one pseudonym in a search that looks at no profile."""

MESSAGES = {
    "a user": WITH_USER.SerializeToString(),
    "a user of search_deep": query_message("shoes", user=USER, model="search_deep").SerializeToString(),
    "a user in search_personal": query_message("shoes", user=USER, model="search_personal").SerializeToString(),
    "nobody in search_personal": query_message("shoes", model="search_personal").SerializeToString(),
    "recommend": message("recommend", NAMED).SerializeToString(),
    "events": message("events", ("events", "BYTES", [1, 1], packed(b"{}"))).SerializeToString(),
    "privacy": message("privacy", NAMED).SerializeToString(),
    "a step of the ensemble": query_message("shoes", user=USER, model="preprocess").SerializeToString(),
    "model name in capitals": query_message("shoes", user=USER, model="SEARCH").SerializeToString(),
    "model name with a blank": query_message("shoes", user=USER, model="search ").SerializeToString(),
    "model name with a zero byte": query_message("shoes", user=USER, model="search\0recommend").SerializeToString(),
    "two model names, the last counts": field(1, b"search") + message("recommend", NAMED).SerializeToString(),
    "two model names, the first is open": message("recommend", NAMED).SerializeToString() + field(1, b"search"),
    "a user of blanks": message("search", QUERY, ("user", "BYTES", [1, 1], packed(b" "))).SerializeToString(),
    "a user of a zero byte": message("search", QUERY, ("user", "BYTES", [1, 1], packed(b"\0"))).SerializeToString(),
    "users, the first empty": message(
        "search", QUERY, ("user", "BYTES", [1, 2], packed(b"", USER))
    ).SerializeToString(),
    "a batch, the second with a user": message(
        "search",
        ("query", "BYTES", [2, 1], packed(b"a", b"b")),
        ("user", "BYTES", [2, 1], packed(b"", USER)),
    ).SerializeToString(),
    "user twice, empty first": message("search", QUERY, EMPTY, NAMED).SerializeToString(),
    "user twice, empty last": message("search", QUERY, NAMED, EMPTY).SerializeToString(),
    "raw contents in another order": Request(
        model_name="search", inputs=WITH_USER.inputs, raw_input_contents=WITH_USER.raw_input_contents[::-1]
    ).SerializeToString(),
    "user in contents": with_contents(USER).SerializeToString(),
    "empty user in contents": with_contents(b"").SerializeToString(),
    "raw and contents": mixed().SerializeToString(),
    "user in shared memory": in_shared_memory().SerializeToString(),
    "output into shared memory": output_in_shared_memory().SerializeToString(),
    "user as a parameter": parameter("user", "u-4711").SerializeToString(),
    "user as the timeout": parameter("timeout", "u-4711").SerializeToString(),
    "user as a tensor's parameter": tensor_parameter().SerializeToString(),
    "user as another tensor": message("search", QUERY, ("User", "BYTES", [1, 1], packed(USER))).SerializeToString(),
    "user_token": message("search", QUERY, ("user_token", "BYTES", [1, 1], packed(USER))).SerializeToString(),
    "user after k": message("search", QUERY, ("k", "INT32", [1, 1], struct.pack("<i", 5) + USER)).SerializeToString(),
    "user after the query": message("search", ("query", "BYTES", [1, 1], packed(b"shoes") + USER)).SerializeToString(),
    "user as another type": message("search", QUERY, ("user", "UINT8", [1, 4], b"\0\0\0\0")).SerializeToString(),
    "user in the filters": filters(json.dumps({"user": "u-4711"})).SerializeToString(),
    "user in the filters, escaped": filters('{"\\u0075ser": "u-4711"}').SerializeToString(),
    "user in the filters, after an escaped quote": filters('{"brand": "\\"", "user": 1}').SerializeToString(),
    "user as the version": query_message(
        "shoes",
        user=b"",
    ).SerializeToString()
    + field(2, USER),
    "a long id": ANONYMOUS.SerializeToString() + field(3, b"x" * 129),
    "an unknown field": ANONYMOUS.SerializeToString() + field(99, USER),
    "an unknown number": ANONYMOUS.SerializeToString() + varint(99 << 3) + varint(4711),
    "a fixed field": ANONYMOUS.SerializeToString() + varint(9 << 3 | 1) + b"u-4711\0\0",
    "a group": ANONYMOUS.SerializeToString() + varint(9 << 3 | 3) + varint(9 << 3 | 4),
    "field number 0": ANONYMOUS.SerializeToString() + field(0, USER),
    "a cut message": WITH_USER.SerializeToString()[:-3],
    "a length beyond the end": ANONYMOUS.SerializeToString() + b"\x3a\xff\xff\xff\xff\x0f",
    "an endless varint": ANONYMOUS.SerializeToString() + b"\xff" * 20,
    "nothing": b"",
    "noise": bytes(range(256)),
}
