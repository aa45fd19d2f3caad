"""Judged queries by which a compressed network is compared with its original: what shoppers would see of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from build.data import examples
from build.evaluation.offline import Ensembles, Ranking, ordered
from build.progress import progress
from shelfbridge.catalogue import Catalogue, Judgment, Judgments, Split
from shelfbridge.contract import CANDIDATES, SHORTLIST
from shelfbridge.errors import ArtefactError
from shelfbridge.measure.ranking import NDCG, by_place, kendall, per_query
from shelfbridge.retrieval import Shortlist

Stage = Literal["ranked", "deep"]
SPLITS: tuple[Split, Split] = ("dev", "train")
HELD_BACK = 3
"""One in so many training queries is kept from every compression step (students, importance, calibration)."""
ROUNDING = 1e-6
"""Relative difference below which scores are the same."""
SEED = 4
"""Of the draw of the panels' queries."""
LEAST_APART = 10
"""Queries that each of two panels must have at least, one that chooses and one that judges what was chosen."""


@dataclass(frozen=True)
class Verdict:
    """Rankings and nDCG@10 [Q] of each query of a panel."""

    rankings: list[Ranking]
    ndcg: NDArray[np.float64]

    def first(self, count: int) -> "Verdict":
        """Of the first queries alone."""
        return Verdict(self.rankings[:count], self.ndcg[:count])


def held_back(judgments: Judgments) -> set[str]:
    """Ids of the training queries that compression does not learn from, by a hash of their text."""
    return {
        query_id
        for query_id, query in judgments.of("train").queries.items()
        if int(hashlib.sha1(query.encode()).hexdigest(), 16) % HELD_BACK == 0
    }


def to_learn_from(judgments: Judgments) -> Judgments:
    """The judgments that compression steps see: train without what is held back, and dev and test."""
    held = held_back(judgments)
    return Judgments(tuple(row for row in judgments.rows if row.split != "train" or row.query_id not in held))


def _known(judgments: Judgments) -> tuple[list[str], list[str]]:
    """Return the ids of dev's queries and of the training queries held back, in file order."""
    back = held_back(judgments)
    dev, train = (judgments.of(split).queries for split in SPLITS)
    return list(dev), [one for one in train if one in back]


@dataclass(frozen=True)
class Panel:
    """Judged queries that no compression step learns from: those of dev, and the training queries held back.

    The fine-tuned originals did learn from the latter, so what a compressed network loses there is an upper estimate.
    """

    catalogue: Catalogue
    judgments: Judgments
    dev: int
    """Number of them that are of dev; they come first."""
    chose: bool = False
    """Whether the same queries also chose what they are to judge: a shop has too few for two panels."""

    @classmethod
    def of(cls, catalogue: Catalogue, judgments: Judgments, most: int) -> "Panel":
        """Return the panel of a shop, of at most so many queries drawn by chance; those held back fill dev's up."""
        dev, held = _known(judgments)
        some = examples.drawn(dev, most, SEED)
        return cls._with(catalogue, judgments, [*some, *examples.drawn(held, most - len(some), SEED)], dev)

    @classmethod
    def apart(cls, catalogue: Catalogue, judgments: Judgments, most: int) -> "tuple[Panel, Panel]":
        """Return two panels of at most so many queries each, without a query in common: one chooses, one judges.

        The training queries held back choose and dev judges. Where either is too small, a third of both chooses; where
        that is too few as well, the same queries do both, and the second panel says so. All are drawn by chance.
        """
        dev, held = _known(judgments)
        chooses, judges = held, dev
        if min(len(held), len(dev)) < LEAST_APART:
            both = [*dev, *held]
            chooses = examples.drawn(both, -(-len(both) // 3), SEED)
            judges = [one for one in both if one not in chooses]
        if shared := len(chooses) < LEAST_APART:
            chooses = judges = [*dev, *held]
        first, second = (
            cls._with(catalogue, judgments, examples.drawn(some, most, SEED), dev) for some in (chooses, judges)
        )
        return first, replace(second, chose=shared)

    @classmethod
    def _with(cls, catalogue: Catalogue, judgments: Judgments, ids: Sequence[str], dev: Sequence[str]) -> "Panel":
        by_query: dict[str, list[Judgment]] = {query_id: [] for query_id in ids}
        for row in judgments.rows:
            if row.query_id in by_query:
                by_query[row.query_id].append(row)
        rows = tuple(row for some in by_query.values() for row in some)
        return cls(catalogue, Judgments(rows), len(set(ids) & set(dev)))

    def judge(self, ensembles: Ensembles, stage: Stage, console: Console) -> Verdict:
        """Rankings of a stage and what they are worth.

        Raises:
            ArtefactError: a network tells no query's candidates apart, or gives scores that are no numbers.
        """
        rankings, given = list[Ranking](), list[Ranking]()
        with progress(console) as bar:
            for query in bar.track(list(self.judgments.queries.values()), description=f"judging {stage}"):
                if stage == "ranked":
                    rows, scores = ensembles.ranked(query)
                    given.append((rows, scores))
                else:
                    shown = ensembles.shortlist(query)
                    rows, scores = ensembles.read(shown)
                    given.append(added(shown, scores))
                    rows, scores = ordered(rows, scores)
                rankings.append((rows, scores))
        self.check(given, "ranker" if stage == "ranked" else "cross_encoder")
        return self.verdict(rankings)

    def check(self, given: Sequence[Ranking], network: str) -> None:
        """Refuse a network whose scores tell no query's candidates apart, or are no numbers.

        Products that say the same have the same score from any network: a query that finds no others tells nothing.

        Raises:
            ArtefactError: its scores do.
        """
        products = self.catalogue.products
        telling = [scores for rows, scores in given if len({products[row].full_text for row in rows}) > 1]
        check_scores([scores for _, scores in given], telling, network)

    def verdict(self, rankings: list[Ranking]) -> Verdict:
        """What rankings of all its queries, in order, are worth."""
        products = self.catalogue.products
        run = {
            query_id: by_place(products[row].product_id for row in rows[:CANDIDATES])
            for query_id, (rows, _) in zip(self.judgments.queries, rankings, strict=True)
        }
        return Verdict(rankings, per_query({"": run}, self.judgments)[""][NDCG])


def added(shown: Shortlist, scores: NDArray[Any]) -> Ranking:
    """Return the products of a shortlist that a cross-encoder read, and what it added to the ranker's scores [C]."""
    known = shown.rows[:SHORTLIST] >= 0
    return shown.rows[:SHORTLIST][known], (scores[:SHORTLIST] - shown.scores[:SHORTLIST])[known]


def check_scores(some: Sequence[NDArray[Any]], telling: Sequence[NDArray[Any]], network: str) -> None:
    """Refuse scores that are no numbers, and those that are the same for all candidates of each query.

    Args:
        some: scores [C] of each query.
        telling: of the queries that have products to be told apart.
        network: that gave them.

    Raises:
        ArtefactError: they are.
    """
    if not all(np.isfinite(scores).all() for scores in some):
        raise ArtefactError(f"{network} gives scores that are no numbers; its weights are out of range, train it again")
    if telling and all(np.ptp(scores) <= ROUNDING * max(1.0, float(np.abs(scores).max())) for scores in telling):
        raise ArtefactError(
            f"{network} gives the same score to every product; it has no head for one logit, or was loaded as another "
            "kind of model: look at its training and its loading"
        )


def tau(reference: Sequence[Ranking], other: Sequence[Ranking], depth: int = 10) -> float:
    """Return the mean of Kendall's tau (b) of another ranking with the order of the reference's first products.

    A product that the other does not find counts as behind all that it finds.
    """

    def places(ranking: Ranking, of: Ranking) -> list[int]:
        found = {row: place for place, row in enumerate(ranking[0].tolist())}
        return [found.get(row, len(found)) for row in of[0][:depth].tolist()]

    return kendall((places(one, one), places(two, one)) for one, two in zip(reference, other, strict=True))
