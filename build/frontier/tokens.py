"""How small the stored token vectors can be before shoppers notice: nDCG@10 against bytes per product.

They are most of what an index holds and of what a search moves. Each variant (`token_codes`) stores the token vectors
of an index otherwise; retrieval stays as it is, and the ranker's head is fitted anew, to judgments alone. The
figures: nDCG@10 of dev queries by a head fitted to the training ones; the same over both, each query scored by heads
that did not see it (repeated k-fold cross-validation), for dev alone has few; 95 % intervals of the difference to what
is stored today by paired bootstrap over queries; Kendall's tau with today's order of its ten first. Times are of late
interaction alone, in onnxruntime on one thread, all variants in turn.

Chosen is the fewest bytes among the variants that lose at most 0.005 nDCG@10, cross-validated, and whose intervals,
there and on dev, reach no loss at all. With few queries that is a bet: proven is the fewest bytes whose cross-validated
interval excludes more loss.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from build.data import examples
from build.evaluation.offline import Retrieval
from build.frontier.maxsim import maxsim
from build.frontier.report import tokens_report
from build.frontier.timing import milliseconds
from build.frontier.token_codes import BASELINE, Recoded, Variant, directions, encode, find, stored, unit
from build.progress import progress
from build.training.heads import fit_head
from build.training.models import Ranker
from build.training.ranker import Lists, gather, ndcgs
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.errors import DataError
from shelfbridge.measure.intervals import paired_difference
from shelfbridge.measure.ranking import kendall

VARIANTS = (
    BASELINE,
    *(Variant(width=width) for width in (48, 32, 16)),
    *(Variant(bits=bits) for bits in (4, 2, 1)),
    *(Variant(tokens=tokens, by=by) for by in ("position", "rarity") for tokens in (48, 32, 24, 16)),
    *(Variant(width, bits) for width, bits in ((48, 4), (32, 4), (32, 2))),
    *(Variant(width, 8, tokens) for width, tokens in ((48, 48), (32, 48), (32, 32))),
    *(Variant(width, 4, 48) for width in (64, 32)),
)
BUDGET = 0.005
FOLDS, REPEATS = 5, 3
SAMPLE = 50_000
"""Vectors that the principal directions are computed from."""
TIMED_QUERIES, ROUNDS = 4, 15
TRAINING_QUERIES = 200
"""Most that heads are fitted to: a head of some twenty weights gains little from more."""


Row = dict[str, Any]
"""What was measured of a variant, as the report's JSON has it.

`dev` and `validated`: mean nDCG@10, and its difference `over_baseline` with a 95 % interval over queries;
`milliseconds`: of a query; `times_baseline`: median ratio of a round.
"""


def score(
    lists: Lists, train: Sequence[int], dev: Sequence[int], decay: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], Tensor]:
    """Fit heads and score the queries that they did not see.

    Returns:
        nDCG@10 of dev queries and, validated, of all queries; and the scores of dev [Q, C].
    """
    held = lists.of(dev)
    scores = _scores(lists.of(train), held, decay)
    validated = np.zeros((REPEATS, len(lists.queries)))
    for repeat in range(REPEATS):
        order = np.random.default_rng(repeat).permutation(len(lists.queries))
        for fold in np.array_split(order, min(FOLDS, len(order))):
            rest, left_out = lists.of(np.setdiff1d(order, fold).tolist()), lists.of(fold.tolist())
            validated[repeat, fold] = ndcgs(_scores(rest, left_out, decay), left_out)
    return ndcgs(scores, held), validated.mean(0), scores.masked_fill(held.rows < 0, -torch.inf)


def _scores(fitted_to: Lists, others: Lists, decay: float) -> Tensor:
    nothing = torch.full(fitted_to.rows.shape, torch.nan)
    known = {"rows": fitted_to.rows, "gains": fitted_to.gains, "opinions": nothing}
    return others.features @ fit_head(fitted_to.features, **known, teacher=0.0, decay=decay)


def difference(values: NDArray[np.float64], base: NDArray[np.float64]) -> dict[str, float]:
    """Return the mean of values by query, and the paired bootstrap of its difference to the base's."""
    found = paired_difference(values, base)
    return {"mean": float(values.mean()), "over_baseline": found.value, "low": found.low, "high": found.high}


def tau(base: Tensor, scores: Tensor) -> float:
    """Return Kendall's tau between two scorings [Q, C] of the base's ten first, mean over queries."""
    first = base.argsort(dim=1, descending=True, stable=True)[:, :10]
    pairs = zip(base.gather(1, first).numpy(), scores.gather(1, first).numpy(), strict=True)
    return kendall((one[np.isfinite(one)], other[np.isfinite(one)]) for one, other in pairs)


def choose(rows: Sequence[Row]) -> Row:
    """The fewest bytes among the variants that lose at most `BUDGET`, cross-validated, and nowhere significantly."""
    within = (row for row in rows if row["validated"]["over_baseline"] >= -BUDGET)
    return _smallest(row for row in within if min(row["validated"]["high"], row["dev"]["high"]) >= 0)


def prove(rows: Sequence[Row]) -> Row:
    """The fewest bytes among the variants whose interval excludes a loss of more than `BUDGET`, cross-validated."""
    return _smallest(row for row in rows if row["validated"]["low"] >= -BUDGET)


def _smallest(rows: Iterable[Row]) -> Row:
    return min(rows, key=lambda row: (row["bytes_per_product"], -row["validated"]["mean"]))


def measure(
    folder: Path,
    *,
    tokenizer: Path,
    encoder: Path,
    index: Path,
    catalogue: Catalogue,
    judgments: Judgments,
    decay: float,
    console: Console,
    variants: Sequence[Variant] = VARIANTS,
) -> list[Row]:
    """Measure variants of an index's token vectors; write `token_frontier.json`, `.md` and `.png` to `folder`.

    Args:
        tokenizer: a `tokenizer.json`.
        encoder: the encoder's graph.
        index: folder of the index.
        decay: of the ranker's head, as `RankerSettings.decay`.
        variants: the first is what the others are held against.

    Raises:
        DataError: no training or no dev query.
        ArtefactError: a file is missing, damaged, or does not belong to the others.
    """
    train, dev = (examples.judged(catalogue, judgments.of(split)) for split in ("train", "dev"))
    if not train or not dev:
        raise DataError("no judgment in split 'train' or none in 'dev'; the frontier needs queries of both")
    if len(train) > TRAINING_QUERIES:
        train = random.Random(7).sample(train, TRAINING_QUERIES)
    some, places = [*train, *dev], range(len(train) + len(dev))
    retrieval = Retrieval.open(tokenizer, encoder, index)
    found = find(retrieval, some, console)
    kept = stored(retrieval, catalogue, found.rows, float(np.load(index / "scale.npy")))
    sample = np.random.default_rng(7).permutation(len(kept.vectors.values))[:SAMPLE]
    principal = directions(kept.vectors.values[sample].astype(np.float32))
    recoded = [Recoded(**vars(retrieval), found=found, codes=encode(kept, one, principal)) for one in variants]
    scored = []
    with progress(console) as bar:
        for one in bar.track(recoded, description="ranking"):
            lists = gather(some, one, Ranker(one.codes.scale), Console(quiet=True))
            scored.append(score(lists, places[: len(train)], places[len(train) :], decay))
    asked = list(found.queries)[-TIMED_QUERIES:]
    times = milliseconds(
        [(maxsim(one.codes), [_feed(one, query) for query in asked]) for one in recoded], ROUNDS, console
    )
    times = times.mean(axis=2)
    lengths = np.diff(retrieval.index.tokens.offsets)
    dev_base, all_base, scores_base = scored[0]
    rows = []
    for place, (variant, (of_dev, of_all, scores)) in enumerate(zip(variants, scored, strict=True)):
        size = float(np.minimum(lengths, variant.tokens).mean() * variant.vector_bytes)
        rows.append(
            {
                "name": variant.name,
                "variant": asdict(variant),
                "dev": difference(of_dev, dev_base),
                "validated": difference(of_all, all_base),
                "tau": tau(scores_base, scores),
                "bytes_per_product": size,
                "megabytes": size * len(lengths) / 1e6,
                "milliseconds": float(np.median(times[:, place])),
                "times_baseline": float(np.median(times[:, place] / times[:, 0])),
            }
        )
    queries = {"train": len(train), "dev": len(dev), "validated": len(some), "folds": FOLDS, "repeats": REPEATS}
    record = {
        "queries": queries,
        "products": len(lengths),
        "budget": BUDGET,
        "chosen": choose(rows)["name"],
        "proven": prove(rows)["name"],
        "variants": rows,
    }
    tokens_report(record).write(folder)
    return rows


def _feed(retrieval: Recoded, query: str) -> dict[str, NDArray[Any]]:
    packed, lengths = retrieval.packed(query)
    return {"queries": unit(retrieval.encode(query).token_vectors[0]), "packed": packed, "lengths": lengths}
