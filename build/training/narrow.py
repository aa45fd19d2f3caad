"""Transformers with fewer heads and feed-forward neurons than their width calls for: cut, saved and loaded.

A Hugging Face config has layers and neurons, but derives the size of a head from the width and the number of heads. A
narrowed model's config therefore keeps the original number of heads and says beside it, as `kept_heads`, how many are
left in each layer.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, PreTrainedModel
from transformers.pytorch_utils import prune_linear_layer

from build.settings import Shape
from shelfbridge.errors import ArtefactError

ATTENTION = ("query", "key", "value", "attention_head_size")
"""What is cut in the attention of a layer."""


def layers_of(trunk: PreTrainedModel) -> list[Any]:
    """The layers of a BERT-like model (BERT, MiniLM, RoBERTa, XLM-R, ELECTRA, …), with or without a head.

    Raises:
        ArtefactError: the model is built in another way.
    """
    layers = getattr(getattr(trunk.base_model, "encoder", None), "layer", None)
    attention = getattr(getattr(layers[0], "attention", None), "self", None) if layers else None
    if not isinstance(layers, nn.ModuleList) or not all(hasattr(attention, name) for name in ATTENTION):
        raise ArtefactError(
            f"a {trunk.config.model_type} model cannot be pruned here, only BERT-like ones "
            "(bert, roberta, xlm-roberta, electra); build with --no-students, or choose such a base"
        )
    return list(layers)


def shape_of(trunk: PreTrainedModel) -> Shape:
    """Layers, heads and neurons of a BERT-like model, narrowed or not."""
    layers = layers_of(trunk)
    attention = layers[0].attention.self
    heads = attention.query.out_features // attention.attention_head_size
    return Shape(len(layers), heads, layers[0].intermediate.dense.out_features)


def multiplications(trunk: PreTrainedModel, length: int) -> int:
    """Multiply-adds per word piece of a text of this length: all linear layers, and both products of the attention."""
    shape, total = shape_of(trunk), 0
    for layer in layers_of(trunk):
        total += sum(module.weight.numel() for module in layer.modules() if isinstance(module, nn.Linear))
        total += 2 * length * shape.heads * layer.attention.self.attention_head_size
    return total


def narrow(
    trunk: PreTrainedModel, kept: Sequence[int], heads: Sequence[Sequence[int]], neurons: Sequence[Sequence[int]]
) -> None:
    """Leave the kept layers in a model, and in each of them some heads and neurons; all in order, in place.

    Args:
        kept: layers.
        heads: per kept layer, its heads; as many in each.
        neurons: per kept layer, its feed-forward neurons; as many in each.
    """
    layers = layers_of(trunk)
    encoder: Any = trunk.base_model.encoder
    encoder.layer = nn.ModuleList(layers[number] for number in kept)
    for number, (layer, some, others) in enumerate(zip(layers_of(trunk), heads, neurons, strict=True)):
        attention = layer.attention.self
        attention.layer_idx = number
        size = attention.attention_head_size
        columns: Any = torch.cat([torch.arange(head * size, (head + 1) * size) for head in some])
        rows: Any = torch.tensor(others)
        for name in ("query", "key", "value"):
            setattr(attention, name, prune_linear_layer(getattr(attention, name), columns))
        layer.attention.output.dense = prune_linear_layer(layer.attention.output.dense, columns, dim=1)
        layer.intermediate.dense = prune_linear_layer(layer.intermediate.dense, rows)
        layer.output.dense = prune_linear_layer(layer.output.dense, rows, dim=1)
    trunk.config.num_hidden_layers = len(kept)
    trunk.config.intermediate_size = len(neurons[0])
    trunk.config.kept_heads = len(heads[0])


def narrowed(folder: Path) -> bool:
    """Whether a folder holds a model with fewer heads than its config's own number."""
    config = folder / "config.json"
    return config.is_file() and "kept_heads" in json.loads(config.read_text(encoding="utf-8"))


def load_narrowed(kind: Any, folder: Path, **options: object) -> Any:
    """What `save_pretrained` wrote of a narrowed model.

    Args:
        kind: the auto class that it is loaded as.
        folder: of its files.
        options: of the auto class's `from_config`, or fields of the config.
    """
    fields = {name: value for name, value in options.items() if name != "attn_implementation"}
    config = AutoConfig.from_pretrained(folder, **fields)
    trunk = kind.from_config(config, attn_implementation=options.get("attn_implementation"))
    heads, neurons = range(config.kept_heads), range(config.intermediate_size)
    narrow(trunk, range(config.num_hidden_layers), *([part] * config.num_hidden_layers for part in (heads, neurons)))
    trunk.load_state_dict(load_file(folder / "model.safetensors"))
    return trunk
