"""The two networks of a shelf to ONNX, each held against its torch model and TensorRT's table."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from build.compression.export import OPSET, check, declare
from build.shelf.network import Head, UserEncoder
from shelfbridge.contract import SHELF_CANDIDATES, SHELF_EVENTS, SHELF_SIGNALS

ENCODER_INPUTS = ("event_vectors", "event_ages", "event_kinds", "event_mask")
ENCODER_OUTPUT = "user_vector"
RANKER_INPUT, RANKER_OUTPUT = "shelf_signals", "shelf_scores"


def export_user_encoder(path: Path, encoder: UserEncoder) -> None:
    """Write the graph: `ENCODER_INPUTS` as `UserEncoder.forward` takes them, batch and events dynamic."""
    length = SHELF_EVENTS // 2
    vectors = torch.randn(2, length, encoder.shape.width)
    ages, kinds = torch.rand(2, length) * 300, torch.randint(0, 5, (2, length))
    mask = torch.ones(2, length, dtype=torch.int64)
    mask[1, : length // 2] = 0
    _export(encoder, path, dict(zip(ENCODER_INPUTS, (vectors, ages, kinds, mask), strict=True)), ENCODER_OUTPUT)


def export_head(path: Path, head: Head) -> None:
    """Write the graph: `shelf_signals` FP32 [B, C, S] to `shelf_scores` FP32 [B, C], C as served, batch dynamic."""
    _export(head, path, {RANKER_INPUT: torch.randn(2, SHELF_CANDIDATES, len(SHELF_SIGNALS))}, RANKER_OUTPUT)


def _export(model: nn.Module, path: Path, example: dict[str, Tensor], output: str) -> None:
    model = model.eval()
    axes = {0: "batch"} if output == RANKER_OUTPUT else {0: "batch", 1: "length"}
    dynamic = {**dict.fromkeys(example, axes), output: {0: "batch"}}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracing and deprecation notices that a user can do nothing about
        torch.onnx.export(
            model,
            tuple(example.values()),
            str(path),
            input_names=list(example),
            output_names=[output],
            dynamic_axes=dynamic,
            opset_version=OPSET,
            dynamo=False,
        )
    declare(path, model, tuple(example.values()), dynamic)
    check(path, model, example)
