"""Those who only search: what they are answered must not change, whatever goes on beside them."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from loadtests.fuzz.attack import Way
from loadtests.fuzz.grammar import packed
from loadtests.fuzz.send import Sender

TIMEOUT_S = 10.0
Answer = dict[str, bytes]
ANSWERS = ("product_ids", "hit_scores")


class Bystanders:
    """Searches of a few queries, over and over, by both ways; as a context, from entry to exit."""

    def __init__(self, sender: Sender, queries: Sequence[str]) -> None:
        self._queries, self._stop = queries, threading.Event()
        self._header = sender.header("good")
        self._stubs: dict[Way, Any] = {
            way: service_pb2_grpc.GRPCInferenceServiceStub(channel) for way, channel in sender.channels.items()
        }
        self.latencies: dict[str, list[float]] = {}
        self.wrong: list[str] = []
        self.expected = {query: self.ask("direct", query) for query in queries}

    def ask(self, way: Way, query: str) -> Answer:
        """Ids and scores, as they come over the wire."""
        request = service_pb2.ModelInferRequest(model_name="search")
        request.inputs.add(name="query", datatype="BYTES", shape=[1, 1])
        request.raw_input_contents.append(packed(query.encode()))
        metadata = self._header if way == "gateway" else []
        response = self._stubs[way].ModelInfer(request, timeout=TIMEOUT_S, metadata=metadata)
        outputs = zip(response.outputs, response.raw_output_contents, strict=True)
        return {output.name: raw for output, raw in outputs if output.name in ANSWERS}

    def check(self, way: Way, query: str, when: str) -> None:
        """Ask, and note what is wrong."""
        since = time.monotonic()
        try:
            answer = self.ask(way, query)
        except grpc.RpcError as error:
            self.wrong.append(f"{way}, {when}: {query!r} failed: {error.code().name} {error.details()}")
            return
        self.latencies.setdefault(f"{way}, {when}", []).append(1000 * (time.monotonic() - since))
        if answer != self.expected[query]:
            self.wrong.append(f"{way}, {when}: {query!r} was answered otherwise than before")

    def all(self, when: str) -> None:
        """Every query once, by both ways."""
        for query in self._queries:
            for way in self._stubs:
                self.check(way, query, when)

    def _go_on(self, way: Way) -> None:
        while not self._stop.is_set():
            for query in self._queries:
                if self._stop.is_set():
                    return
                self.check(way, query, "beside attacks")
                time.sleep(0.02)

    def __enter__(self) -> "Bystanders":
        self._threads = [threading.Thread(target=self._go_on, args=(way,)) for way in self._stubs]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
