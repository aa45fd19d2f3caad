"""Searches as they travel: plain gRPC messages, so that a test can also send what no client library would."""

import struct
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from shelfbridge.contract import FILTERS, QUERY, USER, WITH_PAYLOAD, K


@dataclass(frozen=True)
class Answer:
    """What a search found."""

    ids: list[str]
    scores: list[float]
    payload: list[bytes]
    step_times: list[float]


def packed(*values: bytes) -> bytes:
    """Strings as a BYTES tensor holds them: each after its length."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def unpacked(raw: bytes) -> list[bytes]:
    values = []
    while raw:
        (length,) = struct.unpack_from("<I", raw)
        values.append(raw[4 : 4 + length])
        raw = raw[4 + length :]
    return values


def message(model: str, *tensors: tuple[str, str, list[int], bytes], **fields: Any) -> service_pb2.ModelInferRequest:
    """A request of raw tensors: name, Triton's data type, shape with the batch, bytes."""
    request = service_pb2.ModelInferRequest(model_name=model, **fields)
    for name, dtype, shape, raw in tensors:
        request.inputs.add(name=name, datatype=dtype, shape=shape)
        request.raw_input_contents.append(raw)
    return request


def query_message(
    query: str | bytes,
    *,
    k: int | None = None,
    filters: str | None = None,
    user: bytes | None = None,
    with_payload: bool | None = None,
    model: str = "search",
) -> service_pb2.ModelInferRequest:
    """A search as a well-behaved client sends it."""
    text = query.encode() if isinstance(query, str) else query
    tensors = [(QUERY.name, "BYTES", [1, 1], packed(text))]
    if k is not None:
        tensors.append((K.name, "INT32", [1, 1], struct.pack("<i", k)))
    if filters is not None:
        tensors.append((FILTERS.name, "BYTES", [1, 1], packed(filters.encode())))
    if user is not None:
        tensors.append((USER.name, "BYTES", [1, 1], packed(user)))
    if with_payload is not None:
        tensors.append((WITH_PAYLOAD.name, "BOOL", [1, 1], struct.pack("?", with_payload)))
    return message(model, *tensors)


def any_message(model: str, query: str, **options: Any) -> service_pb2.ModelInferRequest:
    """A search, personal where the ensemble is; of `recommend`, a shelf for somebody who looked at two products."""
    if model == "recommend":
        items = packed(b"arden-red-running-shoes-1", b"birch-blue-desk-lamp-2")
        return message(model, ("items", "BYTES", [1, 2], items))
    return query_message(query, model=model, **options, **({"user": b"u1"} if model == "search_personal" else {}))


def answer(response: service_pb2.ModelInferResponse) -> Answer:
    outputs = {output.name: raw for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)}
    return Answer(
        ids=[value.decode() for value in unpacked(outputs["product_ids"])],
        scores=np.frombuffer(outputs["hit_scores"], np.float32).tolist(),
        payload=unpacked(outputs["payload"]),
        step_times=np.frombuffer(outputs["step_times"], np.float32).tolist(),
    )


class Wire:
    """A channel to a server."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)

    def send(self, request: service_pb2.ModelInferRequest) -> Answer:
        return answer(self.stub.ModelInfer(request, timeout=30))

    def search(self, query: str | bytes, **options: Any) -> Answer:
        return self.send(query_message(query, **options))

    def refusal(self, request: service_pb2.ModelInferRequest) -> tuple[grpc.StatusCode, str]:
        """The status and message of a request that must not be answered."""
        try:
            response = self.stub.ModelInfer(request, timeout=30)
        except grpc.RpcError as error:
            return error.code(), error.details()
        raise AssertionError(f"answered with {response}")

    def counts(self, model: str) -> tuple[int, int]:
        """How many requests a model has answered, and in how many executions."""
        stats = self.stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name=model)).model_stats[0]
        return stats.inference_count, stats.execution_count

    def close(self) -> None:
        self.channel.close()
