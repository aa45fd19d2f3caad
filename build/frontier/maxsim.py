"""Late interaction on stored token vectors of other forms: the served arithmetic, as an ONNX graph to be timed."""

import tempfile
import warnings
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn

from build.compression.export import OPSET
from build.evaluation.offline import session
from build.frontier.token_codes import Codes


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


def maxsim(codes: Codes) -> onnxruntime.InferenceSession:
    """A session that runs late interaction on vectors of a variant's form, on one thread."""
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
