"""A small transformer in fp32, its calibration set and its int8 master, for the tests of compression."""

from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel

from build.compression.export import export_encoder
from build.compression.fidelity import Feed
from build.training.models import Encoder

WIDTH = 32


def write_encoder(folder: Path) -> Path:
    """The fp32 graph of a BERT of random weights."""
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=1100, max_position_embeddings=64, **sizes)).save_pretrained(folder)
    Encoder(str(folder)).save(folder)
    export_encoder(folder, trained=folder)
    return (folder / "model.onnx").rename(folder / "fp32.onnx")


def feeds(count: int = 8, batch: int = 16, seed: int = 0) -> list[Feed]:
    """Batches of word pieces; the rows of one are equally long."""
    chance = np.random.default_rng(seed)
    return [
        {"input_ids": chance.integers(1, 1000, shape), "attention_mask": np.ones(shape, np.int64)}
        for shape in ((batch, 4 + place % 5) for place in range(count))
    ]
