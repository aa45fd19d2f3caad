"""The networks, and their graphs as they are served: vectors of products, the encoder of users, the ranker's head.

The user encoder is a transformer over the latest products as SASRec's (Kang & McAuley, ICDM 2018), trained with the
full softmax, which beats its binary cross-entropy (Klenitskiy & Vasilev, RecSys 2023). It differs in what a place is:
products of one basket have no order, so an event carries its age in place of a position, and one more token, the
present, looks at all of them.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from build.compression.export import export_model
from shelfbridge.contract import SHELF_CANDIDATES, SHELF_EVENTS, SHELF_SIGNALS, SHELF_WIDTH
from shelfbridge.shelf.history import KINDS

LAYERS, HEADS = 1, 2
"""Of the user encoder; its vectors, and those of products, are `SHELF_WIDTH` wide."""
DROPOUT = 0.2
DROPPED = 0.3
"""Share of products that have only their text in a training step."""


class Products(nn.Module):
    """Vectors of products: what their text says, and what only their buyers know.

    Without the second part a product that was never sold has a vector too; training drops it at random, so that texts
    alone learn to be found (DropoutNet, Volkovs et al., NeurIPS 2017).
    """

    texts: Tensor
    centre: Tensor

    def __init__(self, texts: Tensor) -> None:
        """Start with the unit vectors of the products' texts, float32 [N, D]."""
        super().__init__()
        self.register_buffer("texts", texts)
        self.register_buffer("centre", texts.mean(0))
        inner = 2 * SHELF_WIDTH
        self.projection = nn.Sequential(nn.Linear(texts.shape[1], inner), nn.GELU(), nn.Linear(inner, SHELF_WIDTH))
        self.known = nn.Embedding(len(texts), SHELF_WIDTH)
        nn.init.normal_(self.known.weight, std=0.05)

    def forward(self) -> Tensor:
        """All vectors [N, W]."""
        known = self.known.weight
        if self.training:
            known = known * (torch.rand(len(known), 1) >= DROPPED)
        return self.of_texts(self.texts) + known

    def of_texts(self, texts: Tensor) -> Tensor:
        """Vectors [N, W] of products of which only the text is known."""
        projected: Tensor = self.projection((texts - self.centre) * texts.shape[1] ** 0.5)
        return projected


class Block(nn.Module):
    """One layer: attention and a feed-forward part, each after its normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before_attention, self.before_inner = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, states: Tensor, hidden: Tensor) -> Tensor:
        """New states [B, S, W].

        Args:
            states: [B, S, W].
            hidden: added to attention, 0 where a state may be looked at and very negative elsewhere, [B, 1, 1, S].
        """
        batch, length, width = states.shape
        mixed = self.mix(self.before_attention(states)).reshape(batch, length, 3, HEADS, width // HEADS)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2) * (width // HEADS) ** -0.5 + hidden).softmax(-1)
        seen = (weights @ value).transpose(1, 2).reshape(batch, length, width)
        states = states + self.dropout(self.out(seen))
        inner = self.outer(functional.gelu(self.inner(self.before_inner(states))))
        summed: Tensor = states + self.dropout(inner)
        return summed


class UserEncoder(nn.Module):
    """The vector of a user, whose product with a product's vector is the score."""

    def __init__(self) -> None:
        super().__init__()
        width = SHELF_WIDTH
        self.present = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.of_items = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.of_ages = nn.Sequential(nn.Linear(1, width), nn.GELU(), nn.Linear(width, width))
        self.of_kinds = nn.Embedding(len(KINDS), width)
        nn.init.zeros_(self.of_kinds.weight)  # so that a kind that training never met says nothing
        self.blocks = nn.ModuleList(Block(width) for _ in range(LAYERS))
        self.dropout = nn.Dropout(DROPOUT)
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))

    def forward(self, item_vectors: Tensor, ages: Tensor, kinds: Tensor, mask: Tensor) -> Tensor:
        """Vectors [B, W]; the order of the events makes no difference.

        Args:
            item_vectors: of the products, float32 [B, L, W].
            ages: days since each event, float32 [B, L].
            kinds: places in `KINDS`, int64 [B, L].
            mask: 1 where there is an event, int64 [B, L].
        """
        events = self.of_items(item_vectors) + self.of_ages(torch.log1p(ages).unsqueeze(-1)) + self.of_kinds(kinds)
        present = self.present.expand(ages.shape[0], -1, -1)
        states = self.dropout(torch.cat([present, events], 1))
        there = torch.cat([torch.ones_like(ages[:, :1]), mask.to(ages.dtype)], 1)
        hidden = (there - 1)[:, None, None] * 1e4
        for block in self.blocks:
            states = block(states, hidden)
        vectors: Tensor = self.last(states[:, 0])
        return vectors


class Head(nn.Module):
    """The ranker of a shelf: signals of a candidate to its score."""

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        signals, width, dropout = len(SHELF_SIGNALS), 32, 0.1
        self.register_buffer("mean", torch.zeros(signals))
        self.register_buffer("scale", torch.ones(signals))
        self.layers = nn.Sequential(
            nn.Linear(signals, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width), nn.GELU(),
            nn.Dropout(dropout), nn.Linear(width, 1),
        )  # fmt: skip

    def ignore(self, signals: Tensor) -> None:
        """Make the scores the same whatever some signals are, bool [S]."""
        inner = self.layers[0]
        assert isinstance(inner, nn.Linear)
        with torch.no_grad():
            inner.weight[:, signals] = 0

    def forward(self, signals: Tensor) -> Tensor:
        """Scores [B, C] of signals, float32 [B, C, S]."""
        scores: Tensor = self.layers((signals - self.mean) / self.scale).squeeze(-1)
        return scores


def export_user_encoder(folder: Path, encoder: UserEncoder) -> None:
    """Write `model.onnx`, held against its torch model and TensorRT's table; batch and events are dynamic."""
    length = SHELF_EVENTS // 2
    vectors, ages = torch.randn(2, length, SHELF_WIDTH), torch.rand(2, length) * 300
    mask = torch.ones(2, length, dtype=torch.int64)
    mask[1, : length // 2] = 0
    export_model(encoder, (vectors, ages, torch.randint(0, 5, (2, length)), mask), folder, "user_encoder")


def export_head(folder: Path, head: Head) -> None:
    """Write `model.onnx` in the same way; the batch is dynamic, the candidates are as many as are served."""
    export_model(head, (torch.randn(2, SHELF_CANDIDATES, len(SHELF_SIGNALS)),), folder, "shelf_ranker")
