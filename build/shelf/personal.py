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
from build.shelf.learn import Behaviour, weeks_for
from build.shelf.metrics import paired
from build.shelf.shelf import Shelf, shelves, with_history
from build.shelf.split import Case, Split, cases
from build.shelf.train import Settings
from shelfbridge.catalogue import Catalogue
from shelfbridge.release import read_manifest
from shelfbridge.retrieval.facets import Facets
from shelfbridge.retrieval.vectors import open_vectors
from shelfbridge.shelf.personal import WEIGHT, blend

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
    release: Path,
    behaviour: Behaviour,
    catalogue: Catalogue,
    *,
    weeks: int,
    most: int,
    console: Console,
    settings: Settings | None = None,
) -> dict[str, Any]:
    """Reciprocal ranks of what was bought, by weight of the shopper's taste.

    Args:
        release: whose search it is.
        behaviour: what shoppers did, in the catalogue's rows.
        catalogue: what the release was built from.
        weeks: of the window at the end, at most.
        most: wishes of each kind.
        console: for the progress.
        settings: of the shelf, which is learned for this.

    Returns:
        By kind of query and weight `mrr`, the mean of 1 / rank (0 beyond the candidates), and its paired difference to
        a search that is anybody's.

    Raises:
        ArtefactError: the release is missing or damaged.
        DataError: too few interactions.
    """
    interactions = behaviour.interactions
    split = Split.of(interactions, weeks_for(interactions, weeks))
    number = str(read_manifest(release)["release"])
    texts = open_vectors(release / "retrieve" / number).fetch(np.arange(len(interactions.items)))
    prices = Facets.open(release / "retrieve" / number / "facets").price
    (shelf,) = shelves(
        interactions,
        texts,
        (split.validation, split.test),
        settings or Settings(),
        console,
        prices=lambda _: prices,
        unseen=behaviour.unsold,
    )
    wishes = list(wished(with_history(cases(interactions, split.test, split.end)), catalogue, most))
    ranks = reciprocal(open_release(release), shelf, wishes, console)
    shoppers = np.array([wish.case.user for wish in wishes])
    kinds = np.array([wish.kind for wish in wishes])
    return {
        "served": WEIGHT,
        "wishes": {kind: int((kinds == kind).sum()) for kind in KINDS},
        "by_kind": {
            kind: {
                str(weight): {
                    "mrr": float(ranks[kinds == kind, at].mean()),
                    **paired(ranks[kinds == kind, at] - ranks[kinds == kind, 0], shoppers[kinds == kind]),
                }
                for at, weight in enumerate(WEIGHTS)
            }
            for kind in KINDS
        },
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


def table(record: dict[str, Any]) -> str:
    """A Markdown table."""
    lines = [
        f"| query by | {' | '.join(f'weight {weight:g}' for weight in WEIGHTS)} |",
        "|---" * (len(WEIGHTS) + 1) + "|",
    ]
    for kind in KINDS:
        cells = []
        for weight in WEIGHTS:
            one = record["by_kind"][kind][str(weight)]
            more = f" ({one['difference']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}])" if weight else ""
            cells.append(f"{one['mrr']:.3f}{more}")
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
