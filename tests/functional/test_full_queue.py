"""A queue of Triton's own that is full, in the client's terms, and the deadline as a step reads it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from deploy.embedded import EmbeddedServer, EmbeddedSettings
from shelfbridge.client import SearchClient
from shelfbridge.contract import MODELS
from shelfbridge.errors import Overloaded

SLOW = """
import json, time
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        time.sleep(0.5)
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        told = np.array([[json.dumps({"timeout": request.timeout()}).encode()]], np.object_)
        outputs = {
            "product_ids": np.array([[b"P"]], np.object_),
            "hit_scores": np.ones((1, 1), np.float32),
            "payload": told,
            "step_times": np.zeros((1, 5), np.float32),
        }
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in outputs.items()])
"""
QUEUE = """
dynamic_batching { default_queue_policy { max_queue_size: 1 } }
instance_group [ { count: 1 kind: KIND_CPU } ]
"""


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, make_settings: Callable[..., EmbeddedSettings]
) -> Iterator[EmbeddedServer]:
    """A model `search` that takes half a second, before which one request may wait."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "search/1").mkdir(parents=True)
    (folder / "search/1/model.py").write_text(SLOW)
    model = MODELS["search"]
    lines = ['name: "search"', 'backend: "python"', "max_batch_size: 1"]
    for kind, tensors in (("input", model.inputs), ("output", model.outputs)):
        lines += [
            f'{kind} [ {{ name: "{each.name}" data_type: TYPE_{each.dtype} dims: {list(each.dims)} '
            f"{'optional: true ' if each.optional else ''}}} ]"
            for each in tensors
        ]
    (folder / "search/config.pbtxt").write_text("\n".join(lines) + QUEUE)
    with EmbeddedServer(make_settings(folder, "apart")) as running:
        yield running


def test_what_is_refused_is_load_that_was_shed(server: EmbeddedServer) -> None:
    calls = 12
    with SearchClient(server.address, timeout=20, retries=5) as client, ThreadPoolExecutor(calls) as threads:
        tasks = [threads.submit(client.search, "boots") for _ in range(calls)]
        errors = [task.exception() for task in tasks]
    refused = [error for error in errors if error]
    assert 0 < len(refused) < calls
    assert {type(error) for error in refused} == {Overloaded}
    assert all("Exceeds maximum queue size" in str(error) for error in refused)


def test_the_step_reads_the_deadline(server: EmbeddedServer) -> None:
    with SearchClient(server.address, timeout=20) as client:
        told = client.search("boots").hits[0].product
    assert told is not None
    assert 15e6 < told["timeout"] <= 20e6
