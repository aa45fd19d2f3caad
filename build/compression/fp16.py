"""fp32 to fp16 where its range allows: Model Optimizer's AutoCast, on ranges measured with the shop's own rows.

A plain cast breaks where a weight or an activation leaves fp16's range (65,504): sums of squares, masks, a
normalisation of large values. AutoCast runs the graph on the feeds and leaves such nodes in fp32. Writes `fp16.onnx`,
whose inputs and outputs keep their types. TensorRT parses it; ONNX Runtime on the CPU runs it slowly, to compare.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from build.compression.fidelity import Feed, hold_file, some
from build.compression.quantise import check_feeds, quiet
from build.engines.operators import check_graph

MOST = 512.0
"""Largest |input| and |output| of a node in fp16; a margin of two powers of ten for rows that were not measured."""
LEAST_COSINE = 0.99
IN_FP32 = ["/trees/.*"]
"""Nodes, by patterns of their names, that stay in fp32: the ranker's trees compare with thresholds."""


def halve(folder: Path, *, graph: Path, feeds: Sequence[Feed]) -> dict[str, float]:
    """Write `fp16.onnx`.

    Args:
        graph: the fp32 file, as exported.
        feeds: the rows to measure ranges on, and to compare outputs.

    Returns:
        Cosine to the fp32 outputs, per output.

    Raises:
        DataError: too few rows, or nothing but padding.
        ArtefactError: outputs that are not finite or differ from fp32's, or nodes that TensorRT does not parse.
    """
    check_feeds(feeds)
    with quiet(), tempfile.TemporaryDirectory() as data:
        from modelopt.onnx.autocast import convert_to_mixed_precision

        for place, feed in enumerate(some(feeds)):
            np.savez(f"{data}/{place:04}.npz", **feed)
        made = convert_to_mixed_precision(
            str(graph),
            low_precision_type="fp16",
            nodes_to_exclude=IN_FP32,
            data_max=MOST,
            op_types_to_include=["Gather"],  # or the ids of word pieces, above data_max, keep the embeddings in fp32
            keep_io_types=True,
            calibration_data=data,
        )
    reference = onnx.load(graph)
    for own, other in ((made.graph.input, reference.graph.input), (made.graph.output, reference.graph.output)):
        del own[:]
        own.extend(other)
    del made.graph.value_info[:]
    onnx.save(made, folder / "fp16.onnx")
    check_graph(folder / "fp16.onnx")
    return hold_file("fp16", graph, folder / "fp16.onnx", feeds, LEAST_COSINE)
