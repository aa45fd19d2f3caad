"""Fine-tune the cross-encoder: the ranker's teacher, and the last step of `search_deep`.

A shop's judgments alone are few for it. Beside them it learns from queries made of the products' own words, from random
products as easy wrong answers, and, where they are given, from pairs of another shop's query and product name.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional

from build.data import examples
from build.data.examples import Example
from build.data.foreign import ForeignPair
from build.settings import CrossEncoderSettings, Settings
from build.training.loop import fit
from build.training.models import CrossEncoder
from build.training.tokenizer import claim
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.measure.ranking import ndcg
from shelfbridge.retrieval import ProductPairs
from shelfbridge.wordpieces import WordPieces


@dataclass(frozen=True)
class Pair:
    """A query, the row of a product among some products' word pieces, and how well it answers."""

    query: str
    products: ProductPairs
    row: int
    gain: float


def train(
    folder: Path,
    *,
    tokenizer: Path,
    pieces: Path,
    catalogue: Catalogue,
    judgments: Judgments,
    foreign: Sequence[ForeignPair],
    settings: Settings,
    console: Console,
) -> None:
    """Fine-tune on the train split, choose on dev, write the weights.

    Args:
        tokenizer: folder of `tokenizer.json`.
        pieces: folder of the products' word pieces.
        foreign: pairs of another shop.
    """
    chosen = settings.cross_encoder
    torch.manual_seed(chosen.training.seed)
    model = CrossEncoder(settings.teacher or settings.base, kept=tokenizer / "kept.npy")
    claim(model.trunk, tokenizer)
    words = WordPieces(tokenizer / "tokenizer.json")
    products = ProductPairs.open(pieces)
    abroad = _abroad(folder / "foreign", words, foreign)
    train_set = examples.judged(catalogue, judgments.of("train"))
    dev_set = examples.drawn(examples.judged(catalogue, judgments.of("dev")), chosen.dev_queries, seed=3)

    best = fit(
        model,
        partial(epoch, train_set=train_set, products=products, abroad=abroad, catalogue=catalogue, chosen=chosen),
        partial(loss, model, words),
        lambda: judged_ndcg(model, words, products, dev_set),
        training=chosen.training,
        folder=folder,
        console=console,
    )
    console.print(f"  dev nDCG@10 among judged products: {best:.3f}")
    model.save(folder)


def loss(model: CrossEncoder, words: WordPieces, batch: Sequence[Pair]) -> Tensor:
    """Cross-entropy of the pairs' gains."""
    logits, gains = answers(model, words, batch)
    return functional.binary_cross_entropy_with_logits(logits, gains)


def answers(model: CrossEncoder, words: WordPieces, batch: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """Logits and gains [B] of pairs, on the model's device."""
    device = model.trunk.device
    read_there = (tensor.to(device) for tensor in read(words, batch))
    return model(*read_there), torch.tensor([pair.gain for pair in batch], device=device)


def epoch(
    number: int,
    *,
    train_set: Sequence[Example],
    products: ProductPairs,
    abroad: Sequence[Pair],
    catalogue: Catalogue,
    chosen: CrossEncoderSettings,
) -> list[list[Pair]]:
    """An epoch's batches, of judged, synthetic and foreign pairs and of random products as easy wrong answers."""
    chance = random.Random(chosen.training.seed * 1000 + number)
    pairs = _pairs(train_set, products)
    pairs = chance.sample(pairs, min(chosen.judged, len(pairs)))
    made = examples.synthetic(catalogue, chosen.synthetic // 2, chance.randrange(1 << 30))
    pairs += _pairs(made, products)
    right = examples.right([*train_set, *made])
    easy = [(one.query, chance.randrange(len(catalogue.products))) for one in chance.sample(pairs, len(pairs) // 10)]
    pairs += [Pair(query, products, row, 0.0) for query, row in easy if row not in right[query]]
    # The names of foreign products are short: in batches of their own they are not padded to this shop's texts
    batches = [*_batches(pairs, chosen.training.batch, chance), *_batches(abroad, chosen.training.batch, chance)]
    return chance.sample(batches, len(batches))


def _batches(pairs: Sequence[Pair], size: int, chance: random.Random) -> list[list[Pair]]:
    shuffled = chance.sample(list(pairs), len(pairs))
    return [shuffled[start : start + size] for start in range(0, len(shuffled), size)]


def _pairs(some: Sequence[Example], products: ProductPairs) -> list[Pair]:
    return [
        Pair(example.query, products, row, gain)
        for example in some
        for row, gain in zip(example.rows, example.gains, strict=True)
    ]


def _abroad(folder: Path, words: WordPieces, foreign: Sequence[ForeignPair]) -> list[Pair]:
    if not foreign:
        return []
    ProductPairs.write(folder, words.pieces([pair.name for pair in foreign]))
    names = ProductPairs.open(folder)
    return [Pair(pair.query, names, row, pair.gain) for row, pair in enumerate(foreign)]


def read(words: WordPieces, batch: Sequence[Pair]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and types [B, L] of a batch of pairs."""
    rows = [pair.products.pair(words.queries([pair.query])[0][0], np.array([pair.row])) for pair in batch]
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
        logits, _ = answers(model, words, _pairs([example], products))
        figures.append(ndcg(logits.cpu().numpy(), np.array(example.gains)))
    return float(np.mean(figures)) if figures else 0.0
