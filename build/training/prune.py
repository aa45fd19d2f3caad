"""Cut layers, heads and feed-forward neurons out of a fine-tuned transformer: what is gone costs no time.

Layers are kept at even distances, from the first to the last (Sajjad et al., arXiv:2004.03844, compare such
choices). Heads are ranked as by Michel et al. (arXiv:1905.10650): the mean absolute gradient of the fine-tuning loss
with respect to a factor on the head's output. Neurons are ranked by the same first-order criterion (Molchanov et al.,
arXiv:1906.10771). What it costs is won back by `build.training.distil`.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from build.data import examples
from build.settings import CrossEncoderSettings, EncoderSettings, Shape, Training
from build.training import cross_encoder, encoder
from build.training.models import CrossEncoder, Encoder
from build.training.narrow import layers_of, narrow, shape_of
from build.training.tokenizer import hold
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.errors import ArtefactError
from shelfbridge.retrieval import ProductPairs
from shelfbridge.wordpieces import WordPieces

BATCHES = 8
"""Of fine-tuning examples that importance is measured on."""
TRAINING = Training(epochs=1, batch=16, learning_rate=0.0)
"""Batch and seed of those examples."""


@dataclass(frozen=True)
class Importance:
    """Of each head [N, H] and each feed-forward neuron [N, F] of N layers."""

    heads: Tensor
    neurons: Tensor


def importance(trunk: PreTrainedModel, losses: Iterable[Callable[[], Tensor]]) -> Importance:
    """Mean over batches of the absolute gradient of the loss with respect to factors of one.

    Args:
        trunk: a BERT-like model.
        losses: each computes the scalar loss of a batch by running the model.
    """
    layers, shape = layers_of(trunk), shape_of(trunk)
    size = layers[0].attention.self.attention_head_size
    heads = torch.ones(shape.layers, shape.heads, requires_grad=True)
    neurons = torch.ones(shape.layers, shape.neurons, requires_grad=True)
    total = Importance(torch.zeros_like(heads), torch.zeros_like(neurons))
    trunk.eval()
    with ExitStack() as hooks:
        for number, layer in enumerate(layers):
            for module, factors, repeats in (
                (layer.attention.output.dense, heads, size),
                (layer.output.dense, neurons, 1),
            ):
                hook = module.register_forward_pre_hook(_scaled_by(factors, number, repeats))
                hooks.callback(hook.remove)
        for count, loss in enumerate(losses, start=1):
            heads.grad = neurons.grad = None
            loss().backward()
            for mean, factors in ((total.heads, heads), (total.neurons, neurons)):
                if factors.grad is not None:
                    mean.add_((factors.grad.abs() - mean) / count)
    trunk.zero_grad()
    return Importance(total.heads.detach(), total.neurons.detach())


def _scaled_by(factors: Tensor, number: int, repeats: int) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
    def scale(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (inputs[0] * factors[number].repeat_interleave(repeats),)

    return scale


def cut(trunk: PreTrainedModel, shape: Shape, worth: Importance) -> None:
    """Leave a shape of a model, in place: layers at even distances, the most important heads and neurons of each.

    Raises:
        ArtefactError: the model has less than that.
    """
    has = shape_of(trunk)
    for name in ("layers", "heads", "neurons"):
        wanted, there = getattr(shape, name), getattr(has, name)
        if not 1 <= wanted <= there:
            raise ArtefactError(f"{wanted} {name} cannot be left of {there}; choose 1 to {there}")
    kept = [round(place) for place in torch.linspace(0, has.layers - 1, shape.layers).tolist()]
    heads = [worth.heads[layer].topk(shape.heads).indices.sort().values.tolist() for layer in kept]
    neurons = [worth.neurons[layer].topk(shape.neurons).indices.sort().values.tolist() for layer in kept]
    narrow(trunk, kept, heads, neurons)


def prune_encoder(
    folder: Path, *, model: Path, tokenizer: Path, catalogue: Catalogue, judgments: Judgments, shape: Shape
) -> None:
    """Cut a fine-tuned encoder to as much of a shape as it has. Its token projection and weights stay."""
    network, words = Encoder.load(model), WordPieces(tokenizer / "tokenizer.json")
    hold(network.trunk, tokenizer, model)
    texts = [product.full_text for product in catalogue.products]
    chosen = EncoderSettings(TRAINING, judged=BATCHES * TRAINING.batch, synthetic=BATCHES * TRAINING.batch)
    train_set = examples.judged(catalogue, judgments.of("train"))
    batches = encoder.epoch(train_set, catalogue, chosen, 0)[:BATCHES]
    contrast = partial(encoder.contrast, network, words, tokens=chosen.tokens, right=examples.right(train_set))
    losses = (partial(contrast, batch, texts) for batch in batches)
    cut(network.trunk, shape.within(shape_of(network.trunk)), importance(network.trunk, losses))
    network.save(folder)


def prune_cross_encoder(
    folder: Path,
    *,
    model: Path,
    tokenizer: Path,
    pieces: Path,
    catalogue: Catalogue,
    judgments: Judgments,
    shape: Shape,
) -> None:
    """Cut a fine-tuned cross-encoder to as much of a shape as it has."""
    network, words = CrossEncoder.load(model), WordPieces(tokenizer / "tokenizer.json")
    hold(network.trunk, tokenizer, model)
    chosen = CrossEncoderSettings(TRAINING, judged=BATCHES * TRAINING.batch, synthetic=0)
    train_set = examples.judged(catalogue, judgments.of("train"))
    batches = cross_encoder.epoch(
        0, train_set=train_set, products=ProductPairs.open(pieces), abroad=(), catalogue=catalogue, chosen=chosen
    )
    losses = (lambda batch=batch: cross_encoder.loss(network, words, batch) for batch in batches[:BATCHES])
    cut(network.trunk, shape.within(shape_of(network.trunk)), importance(network.trunk, losses))
    network.save(folder)
