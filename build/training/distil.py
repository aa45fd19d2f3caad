"""Teach a pruned student what its teacher says: no judgment is needed for that, only texts in the shop's words.

The encoder's student reproduces the teacher's vectors of queries, embedding and tokens alike (as in EmbedDistill,
arXiv:2301.12005). It only ever reads queries: products stay indexed by the teacher, and a query costs less. The
cross-encoder's student reproduces logits (pointwise, the plain form of arXiv:2010.02666) for the candidates that
retrieval would show it.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional

from build.data import examples
from build.settings import Training
from build.training.cross_encoder import Pair, answers
from build.training.loop import fit
from build.training.models import CrossEncoder, Encoder
from build.training.opinions import logits_of, read
from build.training.tokenizer import hold
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.measure.ranking import kendall
from shelfbridge.retrieval import ProductPairs
from shelfbridge.wordpieces import WordPieces

HELD_OUT = 200
"""Texts on which a student encoder is compared with its teacher."""


def distil_encoder(
    folder: Path,
    *,
    teacher: Path,
    student: Path,
    tokenizer: Path,
    catalogue: Catalogue,
    judgments: Judgments,
    texts: int,
    training: Training,
    console: Console,
) -> None:
    """Train a student encoder on its teacher's vectors and write its weights.

    Args:
        teacher: folder of the encoder whose vectors are in the index.
        student: folder of the pruned encoder.
        judgments: the queries of train are among the texts.
        texts: per epoch.
        training: of the student; a batch counts texts.
    """
    words, master, network = WordPieces(tokenizer / "tokenizer.json"), Encoder.load(teacher), Encoder.load(student)
    for trunk, folder_of_it in ((master.trunk, teacher), (network.trunk, student)):
        hold(trunk, tokenizer, folder_of_it)
    # Rare words have a row of their own: what is not met in training must stay what it was
    network.trunk.base_model.embeddings.word_embeddings.weight.requires_grad_(False)
    queries = sorted(set(judgments.of("train").queries.values()))

    def epoch(number: int) -> list[list[str]]:
        some = examples.unlabelled(catalogue, queries, texts, training.seed * 1000 + number)
        # Texts of a length lie side by side, so that little is padded
        some.sort(key=len)
        batches = [some[start : start + training.batch] for start in range(0, len(some), training.batch)]
        return random.Random(number).sample(batches, len(batches))

    def loss(batch: Sequence[str]) -> Tensor:
        embedding, tokens = _apart(master, network, words, batch)
        return embedding.mean() + tokens.mean()

    unseen = examples.unlabelled(catalogue, (), HELD_OUT, training.seed)

    def likeness() -> float:
        embedding, tokens = _apart(master, network, words, unseen)
        return 1 - float(embedding.mean() + tokens.mean()) / 2

    best = fit(network, epoch, loss, likeness, training=training, folder=folder, console=console)
    console.print(f"  cosine of the student's vectors with the teacher's: {best:.3f}")
    network.save(folder)


def _apart(master: Encoder, network: Encoder, words: WordPieces, batch: Sequence[str]) -> tuple[Tensor, Tensor]:
    """1 - cosine of student and teacher: of each embedding [B], and of each token vector [M]."""
    device = network.trunk.device
    ids, mask = (torch.from_numpy(array).to(device) for array in words.queries(list(batch)))
    with torch.no_grad():
        embedding, tokens = master.to(device)(ids, mask)
    ours, ours_of_tokens = network(ids, mask)
    there = mask == 1
    return (
        1 - (ours * embedding).sum(-1),
        1 - functional.cosine_similarity(ours_of_tokens[there], tokens[there], dim=-1),
    )


def distil_cross_encoder(
    folder: Path,
    *,
    opinions: Path,
    student: Path,
    tokenizer: Path,
    pieces: Path,
    training: Training,
    console: Console,
) -> None:
    """Train a student cross-encoder on its teacher's logits and write its weights.

    Args:
        opinions: folder that `build.training.opinions` filled.
        student: folder of the pruned cross-encoder.
        training: of the student; a batch counts pairs.
    """
    words, products, network = (
        WordPieces(tokenizer / "tokenizer.json"),
        ProductPairs.open(pieces),
        CrossEncoder.load(student),
    )
    hold(network.trunk, tokenizer, student)
    network.trunk.base_model.embeddings.word_embeddings.weight.requires_grad_(False)
    pairs = [
        Pair(one.query, products, row, logit)
        for one in read(opinions / "train.json")
        for row, logit in zip(one.rows, one.logits, strict=True)
    ]
    unseen = [
        (words.queries([one.query])[0][0], np.array(one.rows, np.int32), np.array(one.logits, np.float32))
        for one in read(opinions / "unseen.json")
    ]

    def epoch(number: int) -> list[list[Pair]]:
        some = random.Random(training.seed * 1000 + number).sample(pairs, len(pairs))
        return [some[start : start + training.batch] for start in range(0, len(some), training.batch)]

    def loss(batch: Sequence[Pair]) -> Tensor:
        return functional.mse_loss(*answers(network, words, batch))

    def agreement() -> float:
        return kendall((logits_of(network, products, query, rows), logits) for query, rows, logits in unseen)

    best = fit(network, epoch, loss, agreement, training=training, folder=folder, console=console)
    console.print(f"  Kendall's tau with the teacher on queries held out: {best:.3f}")
    network.save(folder)
