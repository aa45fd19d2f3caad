"""What this machine can do at best: multiply-adds a second through onnxruntime, and bytes a second through memory.

The peaks are measured, not read from a data sheet: a virtual machine has neither the clock nor the memory channels of
the processor it names. Matrix products run in the library that serves the models, so what is missing to a peak is
missing in how it is used (small shapes, other operators), and not in the library.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper, parser

SIZE = 1024
"""Of the square matrices; one is at most 4 MB, and a product of two is 1.07 G multiply-adds."""
COPIED = 256 << 20
"""Bytes of the array that is copied: many times any cache."""

_GRAPHS = {
    "fp32": """<ir_version: 9, opset_import: ["": 18]>
product (float[m, k] left) => (float[m, n] out) { out = MatMul (left, right) }""",
    "int8": """<ir_version: 9, opset_import: ["": 18]>
product (uint8[m, k] left) => (int32[m, n] out) { out = MatMulInteger (left, right) }""",
}
_TYPES = {"fp32": (np.float32, np.float32), "int8": (np.uint8, np.int8)}


@dataclass(frozen=True)
class Peaks:
    """Best rates of one thread, or of a thread per core."""

    threads: int
    fp32: float
    """G multiply-adds a second of a matrix product."""
    int8: float
    """The same of unsigned activations and signed weights, which is how the served graphs multiply."""
    memory: float
    """GB a second of a large copy; a byte read and written counts twice (STREAM's convention, McCalpin 1995)."""


def measured(threads: int, seconds: float) -> Peaks:
    """The peaks with so many threads; `seconds` for each of the three."""
    fp32, int8 = (_products(kind, threads, seconds) for kind in ("fp32", "int8"))
    return Peaks(threads, fp32, int8, _copies(threads, seconds))


def _products(kind: str, threads: int, seconds: float) -> float:
    left_type, right_type = _TYPES[kind]
    random = np.random.default_rng(7)
    left, right = (random.integers(0, 100, (SIZE, SIZE)).astype(one) for one in (left_type, right_type))
    model = parser.parse_model(_GRAPHS[kind])
    model.graph.initializer.append(numpy_helper.from_array(right, "right"))
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return SIZE**3 / quickest(lambda: session.run(None, {"left": left}), seconds) / 1e9


def _copies(threads: int, seconds: float) -> float:
    # An array a thread, each with pages of its own
    arrays = [(np.ones(COPIED // threads, np.uint8), np.ones(COPIED // threads, np.uint8)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        best = quickest(lambda: list(pool.map(lambda pair: np.copyto(*pair), arrays)), seconds)
    return 2 * COPIED / best / 1e9


def quickest(work: Callable[[], object], seconds: float) -> float:
    """Seconds of the quickest of many runs, after one that does not count."""
    work()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        begun = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begun)
    return best
