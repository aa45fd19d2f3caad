"""Teach a pruned student what its teacher says: no judgment is needed for that, only texts in the shop's words.

The encoder's student reproduces the teacher's vectors of queries, embedding and tokens alike (as in EmbedDistill,
arXiv:2301.12005). It only ever reads queries: products stay indexed by the teacher, and a query costs less. The
cross-encoder's student reproduces logits (pointwise, the plain form of arXiv:2010.02666) for the candidates that
retrieval would show it.

    python -m build.distil encoder --teacher FOLDER --student FOLDER --tokenizer FOLDER \\
        --catalogue F --judgments F --out DIR
"""

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from scipy import stats
from torch import Tensor
from torch.nn import functional

from build import examples
from build.cross_encoder import Pair, read
from build.examples import Example
from build.models import CrossEncoder, Encoder
from build.offline import Retrieval
from build.settings import Training
from build.tokenizer import hold
from build.training import fit, progress
from shelfbridge.catalogue import Catalogue, Judgments, read_catalogue, read_judgments
from shelfbridge.contract import SHORTLIST
from shelfbridge.errors import ShelfbridgeError
from shelfbridge.retrieval import ProductPairs
from shelfbridge.wordpieces import WordPieces

HELD_OUT = 200
"""Texts on which a student encoder is compared with its teacher."""
UNSEEN = 8
ASKED = 24
"""Candidates of a query that the teacher is asked about: the first `SHORTLIST`, and some of the rest."""


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
        folder: to write to.
        teacher: folder of the encoder whose vectors are in the index.
        student: folder of the pruned encoder.
        tokenizer: folder of `tokenizer.json`.
        catalogue: all products.
        judgments: the queries of train are among the texts.
        texts: per epoch.
        training: of the student; a batch counts texts.
        console: for the progress.
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
    ids, mask = (torch.from_numpy(array) for array in words.queries(list(batch)))
    with torch.no_grad():
        embedding, tokens = master(ids, mask)
    ours, ours_of_tokens = network(ids, mask)
    there = mask == 1
    return (
        1 - (ours * embedding).sum(-1),
        1 - functional.cosine_similarity(ours_of_tokens[there], tokens[there], dim=-1),
    )


@dataclass(frozen=True)
class Opinions:
    """Logits of a teacher: of some queries, for some rows of the catalogue each."""

    queries: list[str]
    rows: list[NDArray[np.int32]]
    logits: list[NDArray[np.float32]]

    def save(self, file: Path) -> None:
        """Write to a JSON file."""
        record = [
            {"query": query, "rows": rows.tolist(), "logits": logits.tolist()}
            for query, rows, logits in zip(self.queries, self.rows, self.logits, strict=True)
        ]
        file.write_text(json.dumps(record))

    @classmethod
    def load(cls, file: Path) -> "Opinions":
        """Read what `save` wrote."""
        record = json.loads(file.read_text())
        return cls(
            [one["query"] for one in record],
            [np.array(one["rows"], np.int32) for one in record],
            [np.array(one["logits"], np.float32) for one in record],
        )


def ask(
    folder: Path,
    *,
    teacher: Path,
    tokenizer: Path,
    graph: Path,
    index: Path,
    pieces: Path,
    catalogue: Catalogue,
    judgments: Judgments,
    synthetic: int,
    console: Console,
) -> None:
    """Write the cross-encoder's logits for what retrieval finds: `train.json`, and `unseen.json` to choose by.

    Args:
        folder: to write to.
        teacher: folder of the cross-encoder.
        tokenizer: folder of `tokenizer.json`.
        graph: folder of the encoder's `model.onnx`.
        index: folder of the index.
        pieces: folder of the products' word pieces.
        catalogue: all products.
        judgments: queries of train with their judged products; one in `UNSEEN` of them is for `unseen.json`.
        synthetic: queries made from products' words beside those of train.
        console: for the progress.
    """
    retrieval = Retrieval.open(tokenizer / "tokenizer.json", graph / "model.onnx", index)
    network, products = CrossEncoder.load(teacher), ProductPairs.open(pieces)
    judged = examples.judged(catalogue, judgments.of("train"))
    made = [Example(text, (), ()) for text in examples.unlabelled(catalogue, (), synthetic, seed=0)]
    learnt = [example for place, example in enumerate(judged) if place % UNSEEN]
    for name, some in (("train", [*learnt, *made]), ("unseen", judged[::UNSEEN])):
        opinions = Opinions([], [], [])
        with progress(console) as bar:
            for example in bar.track(some, description=f"asking the teacher, {name}"):
                query = retrieval.encode(example.query)
                found = retrieval.candidates(query).rows
                found = found[found >= 0]
                rest = np.random.default_rng(len(opinions.queries)).permutation(found[SHORTLIST:])
                rows = np.concatenate([found[:SHORTLIST], rest[: ASKED - SHORTLIST]])
                if name == "train":
                    rows = np.union1d(rows, np.array(example.rows, np.int32))
                opinions.queries.append(example.query)
                opinions.rows.append(rows.astype(np.int32))
                opinions.logits.append(_logits(network, products, query.input_ids[0], rows))
        opinions.save(folder / f"{name}.json")


@torch.inference_mode()
def _logits(
    network: CrossEncoder, products: ProductPairs, query: NDArray[np.int64], rows: NDArray[np.int32]
) -> NDArray[np.float32]:
    ids, types, mask = (torch.from_numpy(array) for array in products.pair(query, rows))
    logits: NDArray[np.float32] = network(ids, mask, types).numpy()
    return logits


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
        folder: to write to.
        opinions: folder that `ask` filled.
        student: folder of the pruned cross-encoder.
        tokenizer: folder of `tokenizer.json`.
        pieces: folder of the products' word pieces.
        training: of the student; a batch counts pairs.
        console: for the progress.
    """
    words, products, network = (
        WordPieces(tokenizer / "tokenizer.json"),
        ProductPairs.open(pieces),
        CrossEncoder.load(student),
    )
    hold(network.trunk, tokenizer, student)
    network.trunk.base_model.embeddings.word_embeddings.weight.requires_grad_(False)
    train, unseen = (Opinions.load(opinions / f"{name}.json") for name in ("train", "unseen"))
    pairs = [
        Pair(query, products, row, logit)
        for query, rows, logits in zip(train.queries, train.rows, train.logits, strict=True)
        for row, logit in zip(rows.tolist(), logits.tolist(), strict=True)
    ]
    encoded = [words.queries([query])[0][0] for query in unseen.queries]

    def epoch(number: int) -> list[list[Pair]]:
        some = random.Random(training.seed * 1000 + number).sample(pairs, len(pairs))
        return [some[start : start + training.batch] for start in range(0, len(some), training.batch)]

    def loss(batch: Sequence[Pair]) -> Tensor:
        wanted = torch.tensor([pair.gain for pair in batch])
        return functional.mse_loss(network(*read(words, batch)), wanted)

    def agreement() -> float:
        taus = [
            stats.kendalltau(_logits(network, products, query, rows), logits).statistic
            for query, rows, logits in zip(encoded, unseen.rows, unseen.logits, strict=True)
            if len(rows) > 1
        ]
        return float(np.mean(np.nan_to_num(taus))) if taus else 0.0

    best = fit(network, epoch, loss, agreement, training=training, folder=folder, console=console)
    console.print(f"  Kendall's tau with the teacher on queries held out: {best:.3f}")
    network.save(folder)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=("encoder", "cross-encoder"))
    parser.add_argument("--student", type=Path, required=True, metavar="FOLDER", help="what build.prune left")
    parser.add_argument("--teacher", type=Path, metavar="FOLDER", help="the fine-tuned encoder")
    parser.add_argument(
        "--opinions", type=Path, metavar="FOLDER", help="of the teaching cross-encoder: out/stages/opinions"
    )
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="FOLDER", help="folder of tokenizer.json")
    parser.add_argument("--pieces", type=Path, metavar="FOLDER", help="the products' word pieces, for a cross-encoder")
    parser.add_argument("--catalogue", type=Path, metavar="FILE", help="for an encoder")
    parser.add_argument("--judgments", type=Path, metavar="FILE", help="for an encoder: shoppers' own queries")
    parser.add_argument("--texts", type=int, default=20_000, help="an encoder reads in an epoch (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=64, help="texts or pairs (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=3e-4, help="default: %(default)s")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    options = parser.parse_args()
    needed = ("teacher", "catalogue", "judgments") if options.network == "encoder" else ("opinions", "pieces")
    if missing := [name for name in needed if getattr(options, name) is None]:
        parser.error(f"a student {options.network} needs --{' and --'.join(missing)}")
    training = Training(options.epochs, options.batch, options.learning_rate)
    more = {"student": options.student, "tokenizer": options.tokenizer, "training": training, "console": Console()}
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        if options.network == "encoder":
            catalogue = read_catalogue(options.catalogue)
            judgments = read_judgments(options.judgments, catalogue)
            known = {"catalogue": catalogue, "judgments": judgments, "texts": options.texts}
            distil_encoder(options.out, teacher=options.teacher, **known, **more)
        else:
            distil_cross_encoder(options.out, opinions=options.opinions, pieces=options.pieces, **more)
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
