"""A gRPC server that speaks Triton's inference protocol and answers what a test scripts.

Real sockets and real gRPC, no models: what the client does about statuses, delays and broken connections is tested
against the library that produces them.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from shelfbridge.contract import STEPS

Answer = Callable[["Seen", grpc.ServicerContext], pb.ModelInferResponse]


@dataclass
class Seen:
    """A request as the server saw it."""

    request: pb.ModelInferRequest
    metadata: dict[str, str]
    time_left: float
    at: float

    @property
    def inputs(self) -> dict[str, tuple[str, list[int], Any]]:
        """Data type, shape and the only element of each input."""
        found = {}
        for tensor, raw in zip(self.request.inputs, self.request.raw_input_contents, strict=True):
            if tensor.datatype == "BYTES":
                value = deserialize_bytes_tensor(raw)[0]
            else:
                value = np.frombuffer(raw, {"INT32": np.int32, "BOOL": np.bool_}[tensor.datatype])[0].item()
            found[tensor.name] = (tensor.datatype, list(tensor.shape), value)
        return found


@dataclass
class Server(service_pb2_grpc.GRPCInferenceServiceServicer):
    """The scripted answers are used in order; the last one stays."""

    script: Sequence[Answer]
    address: str = ""
    seen: list[Seen] = field(default_factory=list)
    ready: bool = True
    asked_ready: list[str] = field(default_factory=list)
    stop: Callable[[], threading.Event] = threading.Event
    """Break every connection at once."""

    def ModelInfer(self, request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:  # noqa: N802
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        seen = Seen(request, metadata, context.time_remaining(), time.monotonic())
        self.seen.append(seen)
        return self.script[min(len(self.seen), len(self.script)) - 1](seen, context)

    def ModelReady(self, request: pb.ModelReadyRequest, context: grpc.ServicerContext) -> pb.ModelReadyResponse:  # noqa: N802
        self.asked_ready.append(request.name)
        return pb.ModelReadyResponse(ready=self.ready)


def reply(
    model: str,
    ids: Sequence[str],
    *,
    scores: Sequence[float] | None = None,
    payload: Sequence[str] = (),
    steps: Sequence[float] | None = None,
    request_id: str = "",
) -> pb.ModelInferResponse:
    """What Triton would send: each output of shape [1, n], contents raw."""
    response = pb.ModelInferResponse(model_name=model, model_version="7", id=request_id)
    scores = [1 / (1 + rank) for rank in range(len(ids))] if scores is None else scores
    steps = [float(place) for place in range(len(STEPS[model]))] if steps is None else steps
    outputs = {
        "product_ids": ("BYTES", np.array([i.encode() for i in ids], np.object_)),
        "hit_scores": ("FP32", np.array(scores, np.float32)),
        "payload": ("BYTES", np.array([p.encode() for p in payload], np.object_)),
        "step_times": ("FP32", np.array(steps, np.float32)),
    }
    for name, (datatype, array) in outputs.items():
        response.outputs.add(name=name, datatype=datatype, shape=[1, len(array)])
        packed = serialize_byte_tensor(array) if datatype == "BYTES" else array
        response.raw_output_contents.append(packed.item() if datatype == "BYTES" and packed.size else packed.tobytes())
    return response


def found(seen: Seen, context: grpc.ServicerContext) -> pb.ModelInferResponse:
    """`k` products P1, P2, …, with payload where asked for."""
    inputs = seen.inputs
    ids = [f"P{n}" for n in range(1, inputs["k"][2] + 1)]
    payload = [json.dumps({"title": f"[bold]Boot {i}[/bold] 靴", "price": 9.5, "stock": 0}) for i in ids]
    wanted = payload if inputs["with_payload"][2] else []
    return reply(seen.request.model_name, ids, payload=wanted, request_id=seen.request.id)


def fails(code: grpc.StatusCode, message: str) -> Answer:
    """An answer that is a status; `{id}` in the message is the request's id."""

    def answer(seen: Seen, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        context.abort(code, message.replace("{id}", seen.request.id))
        raise AssertionError("abort raises")

    return answer


def slow(seconds: float) -> Answer:
    """`found`, but late."""

    def answer(seen: Seen, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        until = time.monotonic() + seconds
        while context.is_active() and time.monotonic() < until:
            time.sleep(0.005)
        return found(seen, context)

    return answer


@contextmanager
def serve(
    *script: Answer, port: int = 0, credentials: grpc.ServerCredentials | None = None, host: str = "localhost"
) -> Iterator[Server]:
    """A running server; its threads have ended when the context has."""
    threads = ThreadPoolExecutor(16)
    grpc_server = grpc.server(threads)
    server = Server(script or (found,))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(server, grpc_server)
    endpoint = f"{host}:{port}"
    bound = (
        grpc_server.add_secure_port(endpoint, credentials) if credentials else grpc_server.add_insecure_port(endpoint)
    )
    server.address = f"{host}:{bound}"
    server.stop = lambda: grpc_server.stop(grace=None)
    grpc_server.start()
    try:
        yield server
    finally:
        grpc_server.stop(grace=None).wait()
        threads.shutdown()
