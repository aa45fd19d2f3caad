"""fp32 to fp16 where its range allows: Model Optimizer's AutoCast, on ranges measured with the shop's own rows.

    python -m build.compression.fp16 --graph fp32.onnx --feeds queries/*.npz --out DIR

A plain cast breaks where a weight or an activation leaves fp16's range (65,504): sums of squares, masks, a
normalisation of large values. AutoCast runs the graph on the feeds and leaves such nodes in fp32. Writes `fp16.onnx`,
whose inputs and outputs keep their types. TensorRT parses it; ONNX Runtime on the CPU runs it slowly, to compare.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from build.compression.fidelity import Feed, hold, outputs, session, some
from build.compression.quantise import check_feeds, quiet, read_feeds
from build.engines.operators import check_graph
from shelfbridge.errors import ShelfbridgeError

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
    measured = some(feeds)
    with quiet(), tempfile.TemporaryDirectory() as data:
        from modelopt.onnx.autocast import convert_to_mixed_precision

        for place, feed in enumerate(measured):
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
    return hold(
        "fp16", outputs(session(graph), measured), outputs(session(folder / "fp16.onnx"), measured), LEAST_COSINE
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graph", type=Path, required=True, metavar="FILE", help="the fp32 ONNX file, as exported")
    parser.add_argument("--feeds", type=Path, nargs="+", required=True, metavar="FILE", help="batches, .npz")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    options = parser.parse_args()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        found = halve(options.out, graph=options.graph, feeds=read_feeds(options.feeds))
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error
    print("\n".join(f"{name}: cosine to fp32 {value:.6f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
