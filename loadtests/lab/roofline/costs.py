"""What a search must do: multiply-adds and bytes of each step, counted on the graphs and the index that are served.

Counted are products of matrices. What a graph does element by element is not: it is little arithmetic, though not
always little time, which is what the achieved fraction shows. Bytes are those that must be touched once, however good
the caches: weights, rows gathered, inputs and outputs.
"""

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from shelfbridge.graph import open_session
from shelfbridge.retrieval import Candidates

Feed = Mapping[str, NDArray[Any]]
Cost = dict[str, int]
"""Multiply-adds by arithmetic ("fp32", "int8"), and "bytes"."""
BYTES = {"float": 4, "float16": 2, "uint8": 1, "int8": 1}
"""Of an element of a matrix, by onnxruntime's name of its type."""
SCALAR = 8
"""Most bytes of a stored tensor that is no table to gather rows from."""


def graph(path: Path, feeds: Sequence[Feed]) -> Cost:
    """Mean cost of a graph's runs, by onnxruntime's own profile of what it ran: any graph can be counted.

    A product has as many multiply-adds as its result has elements, times the width of its left side, which no graph
    here transposes. It counts as int8 where onnxruntime multiplies integers.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = f"{folder}/profile"
        options.add_session_config_entry("session.disable_prepacking", "1")  # packed weights would have no shape
        session = open_session(path, options)
        moved = sum(array.nbytes for feed in feeds for array in (*feed.values(), *session.run(None, dict(feed))))
        events = json.loads(Path(session.end_profiling()).read_text())
    counted = {"fp32": 0, "int8": 0, "bytes": moved}
    for node in (one["args"] for one in events if one["cat"] == "Node" and one["name"].endswith("_kernel_time")):
        stored = int(node["parameter_size"])
        if "MatMul" in node["op_name"] or "Gemm" in node["op_name"]:
            (kind, left), *others = _tensors(node["input_type_shape"])
            ((_, made),) = _tensors(node["output_type_shape"])
            counted["int8" if "int8" in kind else "fp32"] += math.prod(made) * left[-1]
            if stored:  # the weights; scales and biases beside them are smaller
                counted["bytes"] += max(BYTES[other] * math.prod(shape) for other, shape in others if other in BYTES)
        elif node["op_name"] == "Gather" and stored > SCALAR:
            counted["bytes"] += int(node["output_size"])
    return {name: round(total / len(feeds)) for name, total in counted.items()}


def _tensors(described: Sequence[Mapping[str, list[int]]]) -> list[tuple[str, list[int]]]:
    return [next(iter(one.items())) for one in described]


def retrieval(products: int, width: int, found: Candidates) -> Cost:
    """Cost of finding candidates: an exact scan of the fp32 vectors, and what is fetched and multiplied of the found.

    An approximate index scans less, so its achieved fraction looks better than it is. The lexical side adds, and does
    not multiply: it is not counted.
    """
    candidates = len(found.rows)
    scanned = products * width
    own = candidates * width + candidates * candidates * width
    given = sum(array.nbytes for array in vars(found).values() if isinstance(array, np.ndarray))
    return {"fp32": scanned + own, "int8": 0, "bytes": 4 * (scanned + candidates * width) + 2 * given}


def mean(costs: Sequence[Cost]) -> Cost:
    """Mean over some searches."""
    return {kind: round(sum(one[kind] for one in costs) / len(costs)) for kind in costs[0]}
