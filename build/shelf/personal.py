"""Whether a search that knows who asks finds sooner what they then bought, and how much their taste should count.

Shoppers' queries are not in interactions, so they are made: a product that a shopper bought for the first time is
searched by the name of its category, as somebody who looks around would, and by three words of its title, as somebody
who knows what they want. The shelf that tells their taste knows nothing of the window in which it was bought.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from build.evaluation.offline import Ensembles
from build.progress import progress
from build.release.publish import open_release
from build.settings import ShelfSettings
from build.shelf.learn import Behaviour, weeks_for
from build.shelf.metrics import paired
from build.shelf.ranker import Shelf, shelves
from build.shelf.split import Case, Split, cases, with_history
from shelfbridge.catalogue import Catalogue
from shelfbridge.measure.report import Report, Table, cell
from shelfbridge.shelf.arrange import WEIGHT, blend

WEIGHTS = (0.0, 0.1, 0.25, 0.5, 1.0)
KINDS = ("category", "title")
WORDS = 3
"""Of a title, in a query by it."""


@dataclass(frozen=True)
class Wish:
    """A query, and the product that its shopper bought after it."""

    kind: str
    query: str
    row: int
    case: Case


def evaluate_personal(
    release: Path, behaviour: Behaviour, catalogue: Catalogue, settings: ShelfSettings, *, most: int, console: Console
) -> dict[str, Any]:
    """Reciprocal ranks of what was bought, by weight of the shopper's taste.

    A shelf is learned for this, from what came before a window at the end, which has the settings' weeks at most. By
    kind of query and weight the record has `mrr`, the mean of 1 / rank (0 beyond the candidates) over at most `most`
    wishes, and its paired difference to a search that is anybody's.

    Raises:
        ArtefactError: the release is missing or damaged.
        DataError: too few interactions.
    """
    interactions, ensembles = behaviour.interactions, open_release(release)
    index = ensembles.retrieval.index
    split = Split.of(interactions, weeks_for(interactions, settings.weeks))
    (shelf,) = shelves(
        interactions,
        index.vectors.fetch(np.arange(len(interactions.items))),
        (split.validation, split.test),
        settings,
        console,
        prices=lambda _: index.facets.price,
        unseen=behaviour.unsold,
    )
    wishes = list(wished(with_history(cases(interactions, split.test, split.end)), catalogue, most))
    ranks = reciprocal(ensembles, shelf, wishes, console)
    shoppers, kinds = np.array([wish.case.user for wish in wishes]), np.array([wish.kind for wish in wishes])

    def figures(kind: str) -> dict[str, dict[str, float]]:
        some, who = ranks[kinds == kind], shoppers[kinds == kind]
        columns = zip(WEIGHTS, some.T, strict=True)
        return {str(weight): {"mrr": float(one.mean()), **paired(one - some[:, 0], who)} for weight, one in columns}

    return {
        "served": WEIGHT,
        "wishes": {kind: int((kinds == kind).sum()) for kind in KINDS},
        "by_kind": {kind: figures(kind) for kind in KINDS},
    }


def wished(some: Sequence[Case], catalogue: Catalogue, most: int) -> Iterator[Wish]:
    """Queries for products that were bought for the first time, at most so many of each kind; the same every time."""
    chance = random.Random(7)
    first = [(case, int(row)) for case in some for row in np.setdiff1d(case.bought, case.history.items)]
    for case, row in chance.sample(first, min(most, len(first))):
        product = catalogue.products[row]
        words = product.title.split()
        yield Wish("title", " ".join(chance.sample(words, min(WORDS, len(words)))), row, case)
        if product.category:
            yield Wish("category", product.category[-1], row, case)


def reciprocal(ensembles: Ensembles, shelf: Shelf, wishes: Sequence[Wish], console: Console) -> NDArray[np.float64]:
    """1 / rank of what was bought [wishes, weights]; 0 where it is no candidate."""
    found = np.zeros((len(wishes), len(WEIGHTS)))
    vectors = shelf.knowledge.users.vectors([wish.case.history for wish in wishes])
    with progress(console) as bar:
        for place, wish in enumerate(bar.track(wishes, description="searching")):
            query = ensembles.retrieval.encode(wish.query)
            candidates = ensembles.retrieval.candidates(query)
            scores = ensembles.scores(query, candidates)
            there = candidates.rows >= 0
            hit = candidates.rows == wish.row
            if not hit.any():
                continue
            tastes = np.zeros(len(there), np.float32)
            tastes[there] = shelf.tastes(wish.case.history, vectors[place], candidates.rows[there])
            for at, weight in enumerate(WEIGHTS):
                moved = np.where(there, blend(scores, tastes, there, weight), -np.inf)
                found[place, at] = 1 / (1 + int((moved > moved[hit][0]).sum()))
    return found


def report(record: dict[str, Any]) -> Report:
    """Return the report of what `evaluate_personal` found."""
    moved = "{mrr:.3f} ({difference:+.3f} [{low:+.3f}, {high:+.3f}])"
    rows = [
        [kind, *(cell(moved if weight else "{mrr:.3f}", found[str(weight)]) for weight in WEIGHTS)]
        for kind, found in record["by_kind"].items()
    ]
    return Report("personal", record, [Table(["query by", *(f"weight {weight:g}" for weight in WEIGHTS)], rows)])
