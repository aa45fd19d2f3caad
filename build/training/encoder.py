"""Fine-tune the encoder: one network for queries and products, one pass for both retrieval and ranking.

Cosine of the embeddings and MaxSim of the token vectors are trained together, each as a choice of the right product
among all products of the batch (in-batch negatives) and a hard negative: a product judged worse for the query or, where
the settings ask for it, one that retrieval finds for it and nobody judged right.
"""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor
from torch.nn import functional

from build.data import examples
from build.data.examples import Example
from build.settings import EncoderSettings, Settings
from build.training.loop import fit
from build.training.models import Encoder
from build.training.negatives import mined
from build.training.tokenizer import claim
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.errors import DataError
from shelfbridge.measure.ranking import ndcg
from shelfbridge.wordpieces import WordPieces

COSINE_SCALE = 20.0
MAXSIM_SCALE = 20.0
CHUNK = 256
LEAST_WEIGHT = 0.01
"""Of the pieces that all products have, [CLS] among them: small, and yet a direction in fp16."""


def train(
    folder: Path, *, tokenizer: Path, catalogue: Catalogue, judgments: Judgments, settings: Settings, console: Console
) -> None:
    """Fine-tune on the train split, choose on dev, write the weights."""
    chosen = settings.encoder
    torch.manual_seed(chosen.training.seed)
    pieces = WordPieces(tokenizer / "tokenizer.json")
    encoder = Encoder(settings.base, kept=tokenizer / "kept.npy")
    claim(encoder.trunk, tokenizer)
    texts = [product.full_text for product in catalogue.products]
    prepare(encoder, pieces, texts, chosen.training.seed)
    train_set = examples.judged(catalogue, judgments.of("train"))
    dev_set = examples.drawn(examples.judged(catalogue, judgments.of("dev")), chosen.dev_queries, seed=3)

    right = examples.right(train_set)
    wrong = (
        mined(encoder, pieces, catalogue, right, count=chosen.negatives, tokens=chosen.tokens, console=console)
        if chosen.negatives
        else {}
    )

    def loss(batch: Sequence[Example]) -> Tensor:
        return contrast(encoder, pieces, batch, texts, tokens=chosen.tokens, right=right)

    best = fit(
        encoder,
        lambda number: epoch(train_set, catalogue, chosen, number, wrong),
        loss,
        lambda: judged_ndcg(encoder, pieces, dev_set, texts, chosen.tokens),
        training=chosen.training,
        folder=folder,
        console=console,
    )
    console.print(f"  dev nDCG@10 among judged products: {best:.3f}")
    encoder.save(folder)


def prepare(encoder: Encoder, pieces: WordPieces, texts: Sequence[str], seed: int) -> None:
    """Start the token vectors from the catalogue: rarity of each word piece, principal directions as projection."""
    held = torch.zeros(len(encoder.weights))
    for start in range(0, len(texts), CHUNK):
        ids, mask = pieces.products(texts[start : start + CHUNK])
        for row, there in zip(ids, mask, strict=True):
            held[np.unique(row[there == 1])] += 1
    rarity = torch.log1p((len(texts) - held + 0.5) / (held + 0.5))
    encoder.weights.copy_(rarity.clamp(min=LEAST_WEIGHT))
    some = random.Random(seed).sample(texts, min(CHUNK, len(texts)))
    with torch.inference_mode():
        read, real = _tensors(pieces.products(some), encoder)
        states = functional.normalize(encoder.eval().hidden(read, real)[real == 1], dim=-1)
        directions = torch.linalg.svd(states, full_matrices=False).Vh[: encoder.projection.out_features]
        encoder.projection.weight[: len(directions)] = directions


def epoch(
    train_set: Sequence[Example],
    catalogue: Catalogue,
    chosen: EncoderSettings,
    number: int,
    wrong: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> list[list[Example]]:
    """An epoch's batches: (query, right product, worse product) triples from judgments and from product texts.

    Args:
        wrong: rows of mined products by query, which are worse too.
    """
    chance = random.Random(chosen.training.seed * 1000 + number)
    triples = [triple for example in train_set for triple in _triples(example, wrong.get(example.query, ()), chance)]
    triples = chance.sample(triples, min(chosen.judged, len(triples)))
    triples += examples.synthetic(catalogue, chosen.synthetic, chance.randrange(1 << 30))
    if not triples:
        raise DataError("no training query has both an exact product and a worse one; judge more products per query")
    return list(examples.batches(triples, chosen.training.batch, chance))


def _triples(example: Example, wrong: Sequence[int], chance: random.Random) -> list[Example]:
    """The example's best products, each with one that was judged worse or is among the wrong ones."""
    right = [(row, gain) for row, gain in zip(example.rows, example.gains, strict=True) if gain == 1]
    worse = [(row, gain) for row, gain in zip(example.rows, example.gains, strict=True) if gain < 1]
    worse += [(row, 0.0) for row in wrong if row not in example.rows]
    if not right or not worse:
        return []
    return [
        Example(example.query, (row, other), (gain, less))
        for (row, gain), (other, less) in ((one, chance.choice(worse)) for one in right)
    ]


def contrast(
    encoder: Encoder,
    pieces: WordPieces,
    batch: Sequence[Example],
    texts: Sequence[str],
    *,
    tokens: int,
    right: Mapping[str, frozenset[int]],
) -> Tensor:
    """Cross-entropy of picking each query's product, by cosine and by MaxSim, from its first `tokens` word pieces.

    Args:
        encoder: that is trained.
        pieces: its tokenizer.
        batch: triples of a query, its right product and a worse one.
        texts: of all products.
        tokens: word pieces of a product that are read.
        right: rows that are right for a query, by its text; none of them is held against it.
    """
    rows = [example.rows[0] for example in batch] + [example.rows[1] for example in batch]
    queries, query_tokens = encoder(*_tensors(pieces.queries([example.query for example in batch]), encoder))
    ids, mask = _tensors(pieces.products([texts[row] for row in rows]), encoder)
    products, product_tokens = encoder(ids[:, :tokens], mask[:, :tokens])
    target = torch.arange(len(batch), device=queries.device)
    same = false_negatives(batch, right).to(queries.device)
    cosine = (queries @ products.T * COSINE_SCALE).masked_fill(same, -1e4)
    late = (maxsim(query_tokens, product_tokens) * MAXSIM_SCALE).masked_fill(same, -1e4)
    return functional.cross_entropy(cosine, target) + functional.cross_entropy(late, target)


def false_negatives(batch: Sequence[Example], right: Mapping[str, frozenset[int]]) -> Tensor:
    """Which of a batch's products [2 B] are right for a query [B] though they are not the one it is to pick.

    The first B are the right products of each query, the others the worse ones.
    """
    rows = [example.rows[0] for example in batch] + [example.rows[1] for example in batch]
    found = torch.tensor(
        [[row == one.rows[0] or row in right.get(one.query, ()) for row in rows] for one in batch], dtype=torch.bool
    )
    found.fill_diagonal_(False)
    return found


def maxsim(query_tokens: Tensor, product_tokens: Tensor) -> Tensor:
    """Mean over the query's tokens, by their weight, of the best match in each product: [Q, N].

    Args:
        query_tokens: [Q, S, P], as long as their weight.
        product_tokens: [N, T, P]; their length does not count.
    """
    padded = product_tokens.square().sum(-1) == 0
    similar = torch.einsum("qsp,ntp->qnst", query_tokens, functional.normalize(product_tokens, dim=-1))
    best = similar.masked_fill(padded[None, :, None, :], -1e4).amax(-1)
    weights = query_tokens.norm(dim=-1)
    mean: Tensor = (best * (weights > 0)[:, None]).sum(-1) / weights.sum(-1)[:, None]
    return mean


def judged_ndcg(
    encoder: Encoder, pieces: WordPieces, dev_set: Sequence[Example], texts: Sequence[str], tokens: int
) -> float:
    """Mean nDCG@10 of cosine + MaxSim over each query's judged products: quick, and what training is meant to move."""
    figures = []
    for example in dev_set:
        query, query_tokens = encoder(*_tensors(pieces.queries([example.query]), encoder))
        ids, mask = _tensors(pieces.products([texts[row] for row in example.rows]), encoder)
        products, product_tokens = encoder(ids[:, :tokens], mask[:, :tokens])
        scores = (query @ products.T + maxsim(query_tokens, product_tokens))[0].cpu().numpy()
        figures.append(ndcg(scores, np.array(example.gains)))
    return float(np.mean(figures)) if figures else 0.0


def _tensors(arrays: tuple[NDArray[Any], NDArray[Any]], encoder: Encoder) -> tuple[Tensor, Tensor]:
    ids, mask = (torch.from_numpy(array).to(encoder.trunk.device) for array in arrays)
    return ids, mask
