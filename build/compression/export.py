"""To ONNX: dynamic batch and lengths, standard operators only, and the same outputs as the torch model.

The older exporter is used on purpose: it writes one self-contained file of a fifth of the newer one's time, and the
graph is not optimised, which is what TensorRT's parser wants: `build.engines.operators` holds each against its table.
Opset 18 is the first with the LayerNormalization and ReduceMax forms used here.
"""

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from build.engines.operators import check_graph
from build.training.models import Blend, CrossEncoder, Encoder, Ranker, RankerAlone
from shelfbridge import contract
from shelfbridge.contract import CANDIDATES, SHORTLIST, SIGNALS, TOKEN_WIDTH
from shelfbridge.errors import ArtefactError
from shelfbridge.graph import open_session

OPSET = 18
TOLERANCE = 2e-4
"""Largest difference allowed between torch and onnxruntime: fp32 sums in another order."""
ASTRAY = 0.01
"""Share of a tree-ranker's scores that may differ by more: a feature within rounding of a threshold may cross it."""


def export_encoder(folder: Path, *, trained: Path) -> None:
    """Write the encoder's `model.onnx`."""
    ids, mask = torch.randint(1, 1000, (2, 9)), torch.ones(2, 9, dtype=torch.int64)
    mask[1, 5:] = 0
    export_model(Encoder.load(trained), (ids, mask), folder, "encoder")


def export_ranker(folder: Path, *, trained: Path) -> None:
    """Write the ranker's `model.onnx`."""
    vectors = nn.functional.normalize(torch.randn(2, 7, TOKEN_WIDTH), dim=-1)
    vectors[1, 4:] = 0
    tokens = torch.randint(-60, 60, (2, CANDIDATES, 11, TOKEN_WIDTH), dtype=torch.int8)
    lengths = torch.randint(0, 12, (2, CANDIDATES), dtype=torch.int32)
    cosines, signals = torch.rand(2, CANDIDATES, CANDIDATES), torch.rand(2, CANDIDATES, len(SIGNALS))
    ranker = Ranker.load(trained)
    astray = 0.0 if ranker.trees is None else ASTRAY
    export_model(ranker, (vectors, tokens, lengths, cosines, signals), folder, "ranker", astray)


def export_cross_encoder(folder: Path, *, trained: Path, weight: float) -> None:
    """Write `model.onnx` of the cross-encoder with the blend of its logits into the ranker's scores."""
    ids = torch.randint(1, 1000, (2, SHORTLIST, 13))
    types = torch.zeros_like(ids)
    types[:, :, 6:] = 1
    mask = torch.ones_like(ids)
    mask[1, :, 9:] = 0
    scores = torch.randn(2, CANDIDATES).sort(descending=True).values
    export_model(Blend(CrossEncoder.load(trained), weight), (ids, types, mask, scores), folder, "cross_encoder")


def export_ranker_alone(folder: Path, *, forms: Sequence[str]) -> None:
    """Write the graph that is served where the cross-encoder does not help, in its place: the ranker's scores.

    Args:
        folder: to write to.
        forms: file names; it is the same graph in each form, as there is nothing to quantise.
    """
    ids = torch.ones(2, SHORTLIST, 13, dtype=torch.int64)
    scores = torch.randn(2, CANDIDATES).sort(descending=True).values
    export_model(RankerAlone(), (ids, ids, ids, scores), folder, "cross_encoder")
    for name in forms:
        shutil.copyfile(folder / "model.onnx", folder / name)


def export_model(model: nn.Module, example: tuple[Tensor, ...], folder: Path, name: str, astray: float = 0.0) -> None:
    """Write `model.onnx` of a model of the contract, dims of -1 being dynamic, and hold it against the model."""
    model = model.eval()
    inputs = [tensor.name for tensor in contract.MODELS[name].inputs]
    outputs = [tensor.name for tensor in contract.MODELS[name].outputs]
    dynamic = {
        tensor.name: {0: "batch", **{1 + at: f"{tensor.name}_{at}" for at, dim in enumerate(tensor.dims) if dim == -1}}
        for tensor in (*contract.MODELS[name].inputs, *contract.MODELS[name].outputs)
    }
    path = folder / "model.onnx"
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracing and deprecation notices that a user can do nothing about
        torch.onnx.export(
            model,
            example,
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=dynamic,
            opset_version=OPSET,
            dynamo=False,
        )
    declare(path, model, example, dynamic)
    check(path, model, dict(zip(inputs, example, strict=True)), astray)


def declare(path: Path, model: nn.Module, example: tuple[Tensor, ...], dynamic: dict[str, dict[int, str]]) -> None:
    """Write into a graph the widths of its outputs that do not vary: the exporter loses some."""
    graph = onnx.load(path)
    for output, tensor in zip(graph.graph.output, _outputs(model, example), strict=True):
        for axis, size in enumerate(tensor.shape):
            if axis not in dynamic[output.name]:
                output.type.tensor_type.shape.dim[axis].dim_value = size
    onnx.save(graph, path)


def check(path: Path, model: nn.Module, example: dict[str, Tensor], astray: float = 0.0) -> None:
    """Hold an exported graph against its torch model, on the example and on half of its batch.

    Raises:
        ArtefactError: something that TensorRT does not parse, or outputs that differ by more than `TOLERANCE`.
    """
    check_graph(path)
    running = open_session(path)
    for part in (example, {name: tensor[:1] for name, tensor in example.items()}):
        got = running.run(None, {name: tensor.numpy() for name, tensor in part.items()})
        for expected, found in zip(_outputs(model, tuple(part.values())), got, strict=True):
            apart = float(np.quantile(np.abs(expected.numpy() - found), 1 - astray))
            if not apart <= TOLERANCE:
                raise ArtefactError(f"{path} differs from its torch model by {apart:.1e}; it is not published")


def _outputs(model: nn.Module, example: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    with torch.inference_mode():
        made = model(*example)
    return made if isinstance(made, tuple) else (made,)
