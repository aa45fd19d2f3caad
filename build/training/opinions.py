"""What the fine-tuned cross-encoder says of the candidates that retrieval shows it: its student learns from that."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from build.data import examples
from build.data.examples import Example
from build.evaluation.offline import Retrieval
from build.progress import progress
from build.settings import Asking
from build.training.models import CrossEncoder
from build.training.tokenizer import hold
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.contract import SHORTLIST
from shelfbridge.retrieval import ProductPairs

DEFAULTS = Asking()


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
    settings: Asking = DEFAULTS,
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
        judgments: queries of train with their judged products; one in `settings.unseen` of them is for `unseen.json`.
        synthetic: queries made from products' words beside those of train.
        console: for the progress.
        settings: how many candidates are asked about, and which queries are kept for `unseen.json`.
    """
    retrieval = Retrieval.open(tokenizer / "tokenizer.json", graph / "model.onnx", index)
    network, products = CrossEncoder.load(teacher), ProductPairs.open(pieces)
    hold(network.trunk, tokenizer, teacher)
    judged = examples.judged(catalogue, judgments.of("train"))
    made = [Example(text, (), ()) for text in examples.unlabelled(catalogue, (), synthetic, seed=0)]
    learnt = [example for place, example in enumerate(judged) if place % settings.unseen]
    for name, some in (("train", [*learnt, *made]), ("unseen", judged[:: settings.unseen])):
        opinions = Opinions([], [], [])
        with progress(console) as bar:
            for example in bar.track(some, description=f"asking the teacher, {name}"):
                query = retrieval.encode(example.query)
                found = retrieval.candidates(query).rows
                found = found[found >= 0]
                rest = np.random.default_rng(len(opinions.queries)).permutation(found[SHORTLIST:])
                rows = np.concatenate([found[:SHORTLIST], rest[: max(0, settings.asked - SHORTLIST)]])
                if name == "train":
                    rows = np.union1d(rows, np.array(example.rows, np.int32))
                opinions.queries.append(example.query)
                opinions.rows.append(rows.astype(np.int32))
                opinions.logits.append(logits_of(network, products, query.pieces, rows))
        opinions.save(folder / f"{name}.json")


@torch.inference_mode()
def logits_of(
    network: CrossEncoder, products: ProductPairs, query: NDArray[np.int64], rows: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Logits [R] of a query, given by its word pieces [S], with each of some products."""
    ids, types, mask = (torch.from_numpy(array).to(network.trunk.device) for array in products.pair(query, rows))
    logits: NDArray[np.float32] = network(ids, mask, types).cpu().numpy()
    return logits
