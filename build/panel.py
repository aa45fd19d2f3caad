"""Judged queries by which a compressed network is compared with its original: what shoppers would see of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from build import examples
from build.offline import Ensembles, Ranking, ordered
from build.progress import progress
from shelfbridge.catalogue import Catalogue, Judgment, Judgments
from shelfbridge.contract import CANDIDATES, SHORTLIST
from shelfbridge.errors import ArtefactError
from shelfbridge.measure.ranking import NDCG, by_place, kendall, per_query
from shelfbridge.retrieval import Shortlist

Network = Literal["encoder", "ranker", "cross_encoder"]
Stage = Literal["ranked", "deep"]
HELD_BACK = 3
"""One in so many training queries is kept from every compression step (students, importance, calibration)."""
ROUNDING = 1e-6
"""Relative difference below which scores are the same."""
LEAST_TO_CHOOSE = 10
"""Least queries that are set apart to make choices."""


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


@dataclass(frozen=True)
class Panel:
    """Judged queries that no compression step learns from: those of dev, and the training queries held back.

    The fine-tuned originals did learn from the latter, so what a compressed network loses there is an upper estimate.
    A part of them makes the choices within a step, such as the calibration; the others judge what was chosen.
    """

    catalogue: Catalogue
    judgments: Judgments
    dev: int
    """Number of them that are of dev; they come first."""
    choosers: frozenset[str] = frozenset()
    """Ids of the queries that make choices; empty where there are too few to set apart, and all do both."""

    @classmethod
    def of(cls, catalogue: Catalogue, judgments: Judgments, most: int) -> "Panel":
        """Return the panel of a shop, of at most `most` queries, drawn by chance.

        Half of the held-back queries, or all where that is too few, make choices, at most a third of the panel.
        """
        dev, train = (judgments.of(split) for split in ("dev", "train"))
        held = examples.drawn([one for one in train.by_query if one in held_back(judgments)], most, seed=4)
        half = len(held) // 2 if len(held) // 2 >= LEAST_TO_CHOOSE else len(held)
        choosing = held[: min(half, most // 3)]
        if len(choosing) < LEAST_TO_CHOOSE:
            choosing = []
        of_dev = examples.drawn(list(dev.by_query), most - len(choosing), seed=4)
        others = [one for one in held if one not in choosing][: most - len(choosing) - len(of_dev)]
        return cls(catalogue, _of(judgments, [*of_dev, *others, *choosing]), len(of_dev), frozenset(choosing))

    @property
    def choosing(self) -> "Panel":
        """The part that choices are made by; all where it is not set apart."""
        return self._part([one for one in self.judgments.by_query if one in self.choosers])

    @property
    def judging(self) -> "Panel":
        """The part that judges what was chosen, dev among it; all where it is not set apart."""
        return self._part([one for one in self.judgments.by_query if one not in self.choosers])

    def _part(self, ids: Sequence[str]) -> "Panel":
        if not self.choosers:
            return self
        of_dev = set(list(self.judgments.by_query)[: self.dev])
        return Panel(self.catalogue, _of(self.judgments, ids), sum(one in of_dev for one in ids))

    def judge(self, ensembles: Ensembles, stage: Stage, console: Console) -> Verdict:
        """Rankings of a stage and what they are worth.

        Raises:
            ArtefactError: a network gives the same score to every candidate of a query.
        """
        rankings = []
        with progress(console) as bar:
            for query in bar.track(list(self.judgments.queries.values()), description=f"judging {stage}"):
                if stage == "ranked":
                    rows, scores = ensembles.ranked(query)
                    check_scores(scores, "ranker")
                else:
                    shown = ensembles.shortlist(query)
                    rows, scores = ensembles.read(shown)
                    check_read(shown, scores)
                    rows, scores = ordered(rows, scores)
                rankings.append((rows, scores))
        return self.verdict(rankings)

    def verdict(self, rankings: list[Ranking]) -> Verdict:
        """What rankings of all its queries, in order, are worth."""
        products = self.catalogue.products
        run = {
            query_id: by_place(products[row].product_id for row in rows[:CANDIDATES])
            for query_id, (rows, _) in zip(self.judgments.queries, rankings, strict=True)
        }
        return Verdict(rankings, per_query({"": run}, self.judgments)[""][NDCG])


def _of(judgments: Judgments, ids: Sequence[str]) -> Judgments:
    """The judgments of some queries, in the order of their ids."""
    by_query: dict[str, list[Judgment]] = {query_id: [] for query_id in ids}
    for row in judgments.rows:
        if row.query_id in by_query:
            by_query[row.query_id].append(row)
    return Judgments(tuple(row for some in by_query.values() for row in some))


def check_read(shown: Shortlist, scores: NDArray[Any]) -> None:
    """As `check_scores`, of what a cross-encoder adds to the ranker's scores [C] of a shortlist."""
    known = shown.rows[:SHORTLIST] >= 0
    check_scores((scores[:SHORTLIST] - shown.scores[:SHORTLIST])[known], "cross_encoder")


def check_scores(scores: NDArray[Any], network: str) -> None:
    """Refuse scores that tell nothing apart, or are no numbers.

    Raises:
        ArtefactError: they do not.
    """
    if not np.isfinite(scores).all():
        raise ArtefactError(f"{network} gives scores that are no numbers; its weights are out of range, train it again")
    if len(scores) > 1 and np.ptp(scores) <= ROUNDING * max(1.0, float(np.abs(scores).max())):
        raise ArtefactError(
            f"{network} gives the same score to every product; it has no head for one logit, or was loaded as another "
            "kind of model: look at its training and its loading"
        )


def with_network(ensembles: Ensembles, network: Network, session: Any) -> Ensembles:
    """The ensembles with one network replaced."""
    if network == "encoder":
        return replace(ensembles, retrieval=replace(ensembles.retrieval, encoder=session))
    return replace(ensembles, **{network: session})


def tau(reference: Sequence[Ranking], other: Sequence[Ranking], depth: int = 10) -> float:
    """Return the mean of Kendall's tau (b) of another ranking with the order of the reference's first products.

    A product that the other does not find counts as behind all that it finds.
    """

    def places(ranking: Ranking, of: Ranking) -> list[int]:
        found = {row: place for place, row in enumerate(ranking[0].tolist())}
        return [found.get(row, len(found)) for row in of[0][:depth].tolist()]

    return kendall((places(one, one), places(two, one)) for one, two in zip(reference, other, strict=True))
