"""Fine-tune the cross-encoder: the ranker's teacher, and the last step of `search_deep`."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional

from build import examples
from build.encoder import ndcg
from build.examples import Example
from build.models import CrossEncoder
from build.settings import CrossEncoderSettings, Settings
from build.training import fit
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.retrieval import ProductPairs
from shelfbridge.wordpieces import WordPieces


def train(
    folder: Path,
    *,
    tokenizer: Path,
    pieces: Path,
    catalogue: Catalogue,
    judgments: Judgments,
    settings: Settings,
    console: Console,
) -> None:
    """Fine-tune on the train split, choose on dev, write the weights.

    Args:
        tokenizer: folder of `tokenizer.json`.
        pieces: folder of the products' word pieces.
    """
    chosen = settings.cross_encoder
    torch.manual_seed(chosen.training.seed)
    model = CrossEncoder(settings.teacher or settings.base)
    words = WordPieces(tokenizer / "tokenizer.json")
    products = ProductPairs.open(pieces)
    train_set = examples.judged(catalogue, judgments.of("train"))
    dev_set = examples.judged(catalogue, judgments.of("dev"))[: chosen.dev_queries]

    def loss(batch: Sequence[tuple[str, int, float]]) -> Tensor:
        gains = torch.tensor([gain for _, _, gain in batch])
        return functional.binary_cross_entropy_with_logits(model(*_read(words, products, batch)), gains)

    best = fit(
        model,
        lambda number: epoch(train_set, catalogue, chosen, number),
        loss,
        lambda: judged_ndcg(model, words, products, dev_set),
        training=chosen.training,
        folder=folder,
        console=console,
    )
    console.print(f"  dev nDCG@10 among judged products: {best:.3f}")
    model.save(folder)


def epoch(
    train_set: Sequence[Example], catalogue: Catalogue, chosen: CrossEncoderSettings, number: int
) -> list[list[tuple[str, int, float]]]:
    """Batches of (query, row, gain): judged pairs, pairs from product texts, and random products as easy wrongs."""
    chance = random.Random(chosen.training.seed * 1000 + number)
    pairs = _pairs(train_set)
    pairs = chance.sample(pairs, min(chosen.judged, len(pairs)))
    pairs += _pairs(examples.synthetic(catalogue, chosen.synthetic // 2, chance.randrange(1 << 30)))
    pairs += [(query, chance.randrange(len(catalogue.products)), 0.0) for query, _, _ in pairs[::10]]
    chance.shuffle(pairs)
    return [pairs[start : start + chosen.training.batch] for start in range(0, len(pairs), chosen.training.batch)]


def _pairs(some: Sequence[Example]) -> list[tuple[str, int, float]]:
    return [
        (example.query, row, gain) for example in some for row, gain in zip(example.rows, example.gains, strict=True)
    ]


def _read(
    words: WordPieces, products: ProductPairs, batch: Sequence[tuple[str, int, float]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and types [B, L] of a batch of pairs."""
    rows = [products.pair(words.queries([query])[0][0], np.array([row])) for query, row, _ in batch]
    width = max(ids.shape[1] for ids, _, _ in rows)
    ids, types, mask = (
        torch.from_numpy(np.concatenate([np.pad(row[part], ((0, 0), (0, width - row[part].shape[1]))) for row in rows]))
        for part in range(3)
    )
    return ids, mask, types


def judged_ndcg(model: CrossEncoder, words: WordPieces, products: ProductPairs, dev_set: Sequence[Example]) -> float:
    """Mean nDCG@10 over each query's judged products."""
    figures = []
    for example in dev_set:
        batch = [(example.query, row, gain) for row, gain in zip(example.rows, example.gains, strict=True)]
        figures.append(ndcg(model(*_read(words, products, batch)).numpy(), np.array(example.gains)))
    return float(np.mean(figures)) if figures else 0.0
