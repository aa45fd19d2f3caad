"""What the fine-tuned cross-encoder says of the candidates that retrieval shows it: its student learns from that."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from pydantic_core import to_json
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


@dataclass(frozen=True)
class Opinion:
    """Logits of a teacher for some rows of the catalogue and a query."""

    query: str
    rows: list[int]
    logits: list[float]


def read(file: Path) -> list[Opinion]:
    """The opinions that `ask` wrote to a file."""
    return TypeAdapter(list[Opinion]).validate_json(file.read_bytes())


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
    settings: Asking,
) -> None:
    """Write the cross-encoder's logits for what retrieval finds: `train.json`, and `unseen.json` to choose by.

    Args:
        judgments: queries of train with their judged products; one in `settings.unseen` of them is for `unseen.json`.
        synthetic: queries made from products' words beside those of train.
    """
    retrieval = Retrieval.open(tokenizer / "tokenizer.json", graph / "model.onnx", index)
    network, products = CrossEncoder.load(teacher), ProductPairs.open(pieces)
    hold(network.trunk, tokenizer, teacher)
    judged = examples.judged(catalogue, judgments.of("train"))
    made = [Example(text, (), ()) for text in examples.unlabelled(catalogue, (), synthetic, seed=0)]
    learnt = [example for place, example in enumerate(judged) if place % settings.unseen]
    for name, some in (("train", [*learnt, *made]), ("unseen", judged[:: settings.unseen])):
        opinions: list[Opinion] = []
        with progress(console) as bar:
            for example in bar.track(some, description=f"asking the teacher, {name}"):
                query = retrieval.encode(example.query)
                found = retrieval.candidates(query).rows
                found = found[found >= 0]
                rest = np.random.default_rng(len(opinions)).permutation(found[SHORTLIST:])
                rows = np.concatenate([found[:SHORTLIST], rest[: max(0, settings.asked - SHORTLIST)]])
                if name == "train":
                    rows = np.union1d(rows, np.array(example.rows, np.int32))
                logits = logits_of(network, products, query.pieces, rows)
                opinions.append(Opinion(example.query, rows.tolist(), logits.tolist()))
        (folder / f"{name}.json").write_bytes(to_json(opinions))


@torch.inference_mode()
def logits_of(
    network: CrossEncoder, products: ProductPairs, query: NDArray[np.int64], rows: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Logits [R] of a query, given by its word pieces [S], with each of some products."""
    ids, types, mask = (torch.from_numpy(array).to(network.trunk.device) for array in products.pair(query, rows))
    logits: NDArray[np.float32] = network(ids, mask, types).cpu().numpy()
    return logits
