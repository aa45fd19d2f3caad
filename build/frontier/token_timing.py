"""What late interaction costs on stored token vectors of other forms: the served arithmetic, in onnxruntime."""

import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from build.compression.export import OPSET
from build.evaluation.offline import session
from build.frontier.token_codes import Codes, Recoded, unit
from build.progress import progress

ROUNDS = 15


class MaxSim(nn.Module):
    """The ranker's late interaction on packed vectors, alone, for timing: plain means of the best matches."""

    def __init__(self, bits: int, scale: float) -> None:
        super().__init__()
        self.bits = bits
        self.scale = scale

    def forward(self, queries: Tensor, packed: Tensor, lengths: Tensor) -> Tensor:
        """Mean over the query's pieces of the best match in each product, [C].

        Args:
            queries: float32 [S, W], unit vectors.
            packed: int8 [C, T, W] or uint8 [C, T, B].
            lengths: int32 [C].
        """
        if self.bits == 8:
            similar = torch.matmul(packed.to(torch.float32), queries.T) * self.scale
        else:
            levels = 1 << self.bits
            parts = [packed >> shift & levels - 1 for shift in range(0, 8, self.bits)]
            codes = torch.cat(parts, dim=-1).to(torch.float32)
            middle = (levels - 1) * queries.sum(-1)
            similar = (2 * torch.matmul(codes, queries.T) - middle) * self.scale
        there = torch.arange(packed.shape[1], dtype=torch.int32) < lengths.unsqueeze(-1)
        return similar.masked_fill(~there.unsqueeze(-1), -1.0).amax(1).mean(-1)


def seconds(variants: Sequence[Recoded], queries: Sequence[str], console: Console) -> NDArray[np.float64]:
    """Time of late interaction over some queries, [ROUNDS, variants]; in each round the variants take turns."""
    prepared = [(_maxsim(one.codes), [_feed(one, query) for query in queries]) for one in variants]
    times = np.zeros((ROUNDS, len(prepared)))
    with progress(console) as bar:
        for number in bar.track(range(-1, ROUNDS), description="timing"):  # the first round warms up
            for place, (maxsim, feeds) in enumerate(prepared):
                begun = time.perf_counter()
                for feed in feeds:
                    maxsim.run(None, feed)
                times[max(number, 0), place] = time.perf_counter() - begun
    return times / len(queries)


def _feed(retrieval: Recoded, query: str) -> dict[str, NDArray[Any]]:
    packed, lengths = retrieval.packed(query)
    return {"queries": unit(retrieval.encode(query).token_vectors[0]), "packed": packed, "lengths": lengths}


def _maxsim(codes: Codes) -> onnxruntime.InferenceSession:
    example = torch.from_numpy(codes.packed.values[:4])[None]
    queries, lengths = torch.zeros(3, codes.variant.width), torch.tensor([4], dtype=torch.int32)
    with warnings.catch_warnings(), torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # tracing and deprecation notices that a user can do nothing about
        torch.onnx.export(
            MaxSim(codes.variant.bits, codes.scale),
            (queries, example, lengths),
            str(graph := Path(folder) / "maxsim.onnx"),
            input_names=["queries", "packed", "lengths"],
            dynamic_axes={"queries": {0: "s"}, "packed": {0: "c", 1: "t"}, "lengths": {0: "c"}},
            opset_version=OPSET,
            dynamo=False,
        )
        return session(graph)
